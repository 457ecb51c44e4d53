"""MSN, ViT-L/16: masking ratio 0.5, 600 epochs of ImageNet-1k, batch 1024 (arXiv:2204.07141).

Expect (paper, Table 8): 70.1 % top-1 with 1 % of the labels of ImageNet-1k. The paper does not give the epochs: ours
are those of its ViT-B/16. Not run by us yet. Where each setting is from: docs/msn.md.

  python main.py --config=configs/msn_vitl16.py --workdir=runs/msn_vitl16
"""

from maskrep.configs.base.msn import msn


def get_config():
  return msn(size='L', patch_size=16, ratio=0.5, epochs=600)
