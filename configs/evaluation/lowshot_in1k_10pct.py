"""Logistic regression on 10 % of ImageNet-1k, the split of SimCLR that tfds has (MSN, arXiv:2204.07141, Table 2).

One penalty of five, by cross-validation on those labels. Not run by us yet.

  python -m maskrep evaluate lowshot --workdir=DIR --config=configs/evaluation/lowshot_in1k_10pct.py
"""

from configs import common


def get_config():
  config = common.evaluation('lowshot', common.imagenet(batch_size=1, epochs=1).data)
  config.data.source = 'tfds:imagenet2012_subset/10pct'
  config.lowshot = common.low_shot()
  config.lowshot.update(
    labels_per_class=(), fractions=(1.0,), draws=1, l2=(0.001, 0.01, 0.1, 1.0, 10.0), folds=5)
  return config
