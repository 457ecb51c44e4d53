"""MSCN with SimCLR's loss, ResNet-50: 800 epochs of ImageNet-1k, batch 4096 (arXiv:2206.07700).

71.5 % top-1 by linear evaluation (Table 1). Not run by us yet. With `train.microbatch` above 0, the batch norm of
the ResNet sees one microbatch (ghost batch norm); heads and loss see the global batch.

  python main.py --config=configs/mscn_resnet50_simclr.py --workdir=runs/mscn_resnet50_simclr
"""

from maskrep.configs.base.mscn import mscn


def get_config():
  return mscn(epochs=800)
