"""Logistic regression on few labels of ImageNet-1k (MSN, arXiv:2204.07141, Table 1).

The labels are three draws of 1, 2 and 5 images per class, from the lists that facebookresearch/msn publishes in the
folder imagenet_subsets. For 1 % and 10 %, see lowshot_in1k_1pct and lowshot_in1k_10pct. The penalty is that of the
authors' README as we remember it: a lambda of 0.0025, divided by the number of examples. Not run by us yet.

  maskrep evaluate lowshot --workdir=DIR --config=lowshot_in1k
"""

from maskrep.configs.base.evaluation import evaluation
from maskrep.configs.base.sections import imagenet_data, low_shot


def get_config():
  config = evaluation('lowshot', imagenet_data())
  config.lowshot = low_shot()
  config.lowshot.update(
    labels_per_class=(), l2=(0.0025,),
    lists=tuple(f'imagenet_subsets/{count}imgs_class*.txt' for count in (1, 2, 5)))
  return config
