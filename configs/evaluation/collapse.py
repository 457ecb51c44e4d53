"""Collapse of the representation, without labels: RankMe (Garrido et al. 2023, arXiv:2210.02885) and feature_std.

On the training images of a run, at most 10 000 of them.

  maskrep evaluate collapse --workdir=DIR
"""

from maskrep.configs.base.evaluation import evaluation
from maskrep.configs.base.sections import section


def get_config():
  config = evaluation('collapse')
  config.collapse = section()
  return config
