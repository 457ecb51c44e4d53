"""MSN, ViT-B/16, 600 epochs of ImageNet-1k (arXiv:2204.07141, table 2 and appendix C)."""

from configs import common


def get_config():
  return common.msn(size='B', patch_size=16, ratio=0.3, epochs=600)
