"""MSN, ViT-S/16: masking ratio 0.15, 800 epochs of ImageNet-1k, batch 1024 (arXiv:2204.07141).

Expect (paper, Table 1): 47.1 / 55.8 / 62.8 % top-1 with 1 / 2 / 5 labels per class of ImageNet-1k.
Not run by us yet. Where each setting is from: docs/msn.md.

  python main.py --config=configs/msn_vits16.py --workdir=runs/msn_vits16
"""

from maskrep.configs.base.msn import msn


def get_config():
  return msn(size='S', patch_size=16, ratio=0.15, epochs=800)
