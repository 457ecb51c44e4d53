"""MSCN with BYOL's loss, ResNet-50: 1000 epochs of ImageNet-1k, batch 4096 (arXiv:2206.07700).

74.4 % top-1 by linear evaluation (Table 1). Not run by us yet. With `train.microbatch` above 0, the batch norm of
the ResNet sees one microbatch (ghost batch norm); heads and loss see the global batch.

  python main.py --config=configs/mscn_resnet50_byol.py --workdir=runs/mscn_resnet50_byol
"""

from maskrep.configs.base.mscn import mscn_byol


def get_config():
  return mscn_byol(epochs=1000)
