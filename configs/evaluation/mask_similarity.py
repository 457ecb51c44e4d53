"""Cosine similarity between the representations of masked and unmasked images (MSN, arXiv:2204.07141, Table 16).

On the data that a run was trained on.

  maskrep evaluate mask_similarity --workdir=DIR
"""

from maskrep.configs.base.evaluation import evaluation
from maskrep.configs.base.sections import section


def get_config():
  config = evaluation('mask_similarity')
  config.mask_similarity = section(ratios=(0.15, 0.3, 0.5, 0.7, 0.9))
  return config
