"""ExtreMA, ViT-B/16: eight masks of 90 %, 300 epochs of ImageNet-1k, batch 2048 (arXiv:2206.04667).

Not run by us yet.

  python main.py --config=configs/extrema_vitb16_90x8.py --workdir=runs/extrema_vitb16_90x8
"""

from maskrep.configs.base.extrema import extrema


def get_config():
  return extrema(size='B', ratio=0.9, count=8)
