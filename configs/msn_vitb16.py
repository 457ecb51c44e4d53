"""MSN, ViT-B/16: masking ratio 0.3, 600 epochs of ImageNet-1k, batch 1024 (arXiv:2204.07141).

Expect (paper, Table 1): 49.8 / 58.9 / 65.5 % top-1 with 1 / 2 / 5 labels per class of ImageNet-1k.
Not run by us yet. Where each setting is from: docs/msn.md.

  python main.py --config=configs/msn_vitb16.py --workdir=runs/msn_vitb16
"""

from maskrep.configs.base.msn import msn


def get_config():
  return msn(size='B', patch_size=16, ratio=0.3, epochs=600)
