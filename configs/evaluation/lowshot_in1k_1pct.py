"""Logistic regression on 1 % of ImageNet-1k, SimCLR's split as tfds has it (MSN, arXiv:2204.07141, Table 2).

The penalty is chosen from five by cross-validation on those labels. Not run by us yet.

  maskrep evaluate lowshot --workdir=DIR --config=lowshot_in1k_1pct
"""

from maskrep.configs.base.evaluation import evaluation
from maskrep.configs.base.sections import imagenet_data, low_shot


def get_config():
  config = evaluation('lowshot', imagenet_data())
  config.data.source = 'tfds:imagenet2012_subset/1pct'
  config.lowshot = low_shot()
  config.lowshot.update(
    labels_per_class=(), fractions=(1.0,), draws=1, l2=(0.001, 0.01, 0.1, 1.0, 10.0), folds=5)
  return config
