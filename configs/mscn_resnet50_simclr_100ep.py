"""MSCN with SimCLR's loss, ResNet-50: 100 epochs of ImageNet-1k, batch 4096 (arXiv:2206.07700).

The final model of Figure 1, with the best ratio of Table 5: 67.6 % top-1 by linear evaluation. Sections 4.3 to 4.5 have
a ratio of 0.3: configs/mscn_ablation.py. Not run by us yet. With `train.microbatch` above 0, the batch norm of the
ResNet sees one microbatch (ghost batch norm); heads and loss see the global batch.

  python main.py --config=configs/mscn_resnet50_simclr_100ep.py --workdir=runs/mscn_resnet50_simclr_100ep
"""

from maskrep.configs.base.mscn import mscn


def get_config():
  return mscn(epochs=100)
