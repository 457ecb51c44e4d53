"""Logistic regression on 1, 2 and 5 labels per class (MSN, arXiv:2204.07141, section 5.1).

On the data that a run was trained on.

  maskrep evaluate lowshot --workdir=DIR
"""

from maskrep.configs.base.evaluation import evaluation
from maskrep.configs.base.sections import low_shot


def get_config():
  config = evaluation('lowshot')
  config.lowshot = low_shot()
  return config
