"""The tokenizer for supervised + MIM: VQGAN, stride 16, 1024 codes, on ImageNet-1k at 256 pixels (arXiv:2012.09841).

There is no perceptual loss, because it needs the weights of another network: see docs/mim.md. Not run by us yet.

  python main.py --config=configs/vqgan_f16_1024.py --workdir=runs/vqgan_f16_1024
"""

from maskrep.configs.base.vqgan import vqgan


def get_config():
  return vqgan()
