"""Few labels of ImageNet-1k, by the lists that facebookresearch/msn publishes (MSN, arXiv:2204.07141, Table 1).

Three draws of 1, 2 and 5 images a class, in the folder imagenet_subsets; for 1 % and 10 %, see lowshot_in1k_1pct and
lowshot_in1k_10pct. The penalty is that of the authors' README as we remember it: a lambda of 0.0025, divided by the
number of examples. Not run by us yet.

  python -m maskrep evaluate lowshot --workdir=DIR --config=configs/evaluation/lowshot_in1k.py
"""

from configs import common


def get_config():
  config = common.evaluation('lowshot', common.imagenet(batch_size=1, epochs=1).data)
  config.lowshot = common.low_shot()
  config.lowshot.update(
    labels_per_class=(), l2=(0.0025,),
    lists=tuple(f'imagenet_subsets/{count}imgs_class*.txt' for count in (1, 2, 5)))
  return config
