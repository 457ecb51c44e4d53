"""Logistic regression on few labels of ImageNet-1k (MSN, arXiv:2204.07141, Table 1).

The labels are three draws of 1, 2 and 5 images per class, by the lists in the folders imagenet_subsets1 to 3 that
facebookresearch/msn publishes; its third list of 5 images is named 3imgs_class.txt. Features and classifier are those
of the authors' code. For 1 % and 10 %, see lowshot_in1k_1pct and lowshot_in1k_10pct. Not run by us yet.

  maskrep evaluate lowshot --workdir=DIR --config=lowshot_in1k
"""

from maskrep.configs.base.evaluation import authors_low_shot, evaluation
from maskrep.configs.base.sections import imagenet_data, low_shot


def get_config():
  config = evaluation('lowshot', imagenet_data())
  config.lowshot = low_shot()
  config.lowshot.update(
    labels_per_class=(), lists=tuple(f'imagenet_subsets*/{count}imgs_class.txt' for count in ('1', '2', '[35]')))
  return authors_low_shot(config)
