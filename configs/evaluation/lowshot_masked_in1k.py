"""Logistic regression on 1 % of ImageNet-1k, on unmasked and on 70 % masked images (MSN, arXiv:2204.07141, Table 15).

The test images are whole. Features and classifier are those of the authors' code. Not run by us yet.

  maskrep evaluate lowshot_masked --workdir=DIR --config=lowshot_masked_in1k
"""

from maskrep.configs.base.evaluation import authors_low_shot, evaluation
from maskrep.configs.base.sections import imagenet_data, low_shot


def get_config():
  config = evaluation('lowshot_masked', imagenet_data())
  config.data.source = 'tfds:imagenet2012_subset/1pct'
  config.lowshot_masked = low_shot()
  config.lowshot_masked.update(
    labels_per_class=(), fractions=(1.0,), draws=1, ratios=(0.0, 0.7), mask_test=False)
  return authors_low_shot(config)
