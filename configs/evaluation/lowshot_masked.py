"""Logistic regression on few labels, fitted to features of masked images (MSN, arXiv:2204.07141, Table 15).

On the data that a run was trained on. The test images are not masked.

  maskrep evaluate lowshot_masked --workdir=DIR
"""

from maskrep.configs.base.evaluation import evaluation
from maskrep.configs.base.sections import low_shot


def get_config():
  config = evaluation('lowshot_masked')
  config.lowshot_masked = low_shot()
  config.lowshot_masked.update(labels_per_class=(5,), ratios=(0.0, 0.15, 0.3, 0.5, 0.7), mask_test=False)
  return config
