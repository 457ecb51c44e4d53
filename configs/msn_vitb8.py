"""MSN, ViT-B/8: masking ratio 0.3, 600 epochs of ImageNet-1k, batch 1024 (arXiv:2204.07141).

Expect (paper, Table 1): 55.1 / 64.9 / 71.6 % top-1 with 1 / 2 / 5 labels per class of ImageNet-1k.
Not run by us yet. Where each setting is from: docs/msn.md.

  python main.py --config=configs/msn_vitb8.py --workdir=runs/msn_vitb8
"""

from maskrep.configs.base.msn import msn


def get_config():
  return msn(size='B', patch_size=8, ratio=0.3, epochs=600)
