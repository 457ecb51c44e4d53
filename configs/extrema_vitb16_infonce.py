"""ExtreMA, ViT-B/16, with InfoNCE over the global batch in place of BYOL's loss (arXiv:2206.04667).

Not run by us yet.

  python main.py --config=configs/extrema_vitb16_infonce.py --workdir=runs/extrema_vitb16_infonce
"""

from maskrep.configs.base.extrema import extrema


def get_config():
  return extrema(size='B', ratio=0.8, count=5, loss='infonce')
