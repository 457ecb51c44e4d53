"""ExtreMA, ViT-B/16: five masks of 80 %, 300 epochs of ImageNet-1k, batch 2048 (arXiv:2206.04667).

Expect (paper, Table 7): 83.7 % top-1 with fine-tuning, 73.3 % with a linear probe. Not run by us yet.

  python main.py --config=configs/extrema_vitb16.py --workdir=runs/extrema_vitb16
"""

from maskrep.configs.base.extrema import extrema


def get_config():
  return extrema(size='B', ratio=0.8, count=5)
