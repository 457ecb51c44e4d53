"""Logistic regression on 1, 2 and 5 labels a class of the data that a run was trained on (MSN, arXiv:2204.07141, 5.1).

  python -m maskrep evaluate lowshot --workdir=DIR
"""

from configs import common


def get_config():
  config = common.evaluation('lowshot')
  config.lowshot = common.low_shot()
  return config
