"""MSN, ViT-L/16: masking ratio 0.7, 600 epochs of ImageNet-1k, batch 1024 (arXiv:2204.07141).

The paper's table 1 has no row for it (the authors released weights); the ratio is that of its ViT-L/7.
Not run by us yet. Deviations from the paper: docs/msn.md.

  python main.py --config=configs/msn_vitl16.py --workdir=runs/msn_vitl16
"""

from maskrep.configs.base.msn import msn


def get_config():
  return msn(size='L', patch_size=16, ratio=0.7, epochs=600)
