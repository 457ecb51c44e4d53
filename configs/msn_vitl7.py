"""MSN, ViT-L/7: masking ratio 0.7, 200 epochs of ImageNet-1k, batch 1024 (arXiv:2204.07141).

Expect (paper, Table 1): 57.1 / 66.4 / 72.1 % top-1 with 1 / 2 / 5 labels per class of ImageNet-1k.
Not run by us yet. Where each setting is from: docs/msn.md.

  python main.py --config=configs/msn_vitl7.py --workdir=runs/msn_vitl7
"""

from maskrep.configs.base.msn import msn


def get_config():
  config = msn(size='L', patch_size=7, ratio=0.7, epochs=200)
  config.views.focal_size = 98  # 96 is not a multiple of 7: the authors' code leaves out the last 5 pixels
  return config
