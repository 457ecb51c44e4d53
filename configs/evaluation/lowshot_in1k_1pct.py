"""Logistic regression on 1 % of ImageNet-1k, SimCLR's split as tfds has it (MSN, arXiv:2204.07141, Table 2).

Features and classifier are those of the authors' code. Not run by us yet.

  maskrep evaluate lowshot --workdir=DIR --config=lowshot_in1k_1pct
"""

from maskrep.configs.base.evaluation import authors_low_shot, evaluation
from maskrep.configs.base.sections import imagenet_data, low_shot


def get_config():
  config = evaluation('lowshot', imagenet_data())
  config.data.source = 'tfds:imagenet2012_subset/1pct'
  config.lowshot = low_shot()
  config.lowshot.update(labels_per_class=(), fractions=(1.0,), draws=1)
  return authors_low_shot(config)
