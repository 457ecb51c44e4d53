"""MSN, ViT-B/4: masking ratio 0.7, 300 epochs of ImageNet-1k, batch 1024 (arXiv:2204.07141).

Expect (paper, Table 1): 54.3 / 64.6 / 72.4 % top-1 with 1 / 2 / 5 labels per class of ImageNet-1k.
Not run by us yet. Where each setting is from: docs/msn.md.

  python main.py --config=configs/msn_vitb4.py --workdir=runs/msn_vitb4
"""

from maskrep.configs.base.msn import msn


def get_config():
  return msn(size='B', patch_size=4, ratio=0.7, epochs=300)
