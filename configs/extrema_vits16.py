"""ExtreMA, ViT-S/16: five masks of 80 %, 300 epochs of ImageNet-1k, batch 2048 (arXiv:2206.04667).

Expect (paper, Table 7): 81.8 % top-1 with fine-tuning, 69.4 % with a linear probe. Not run by us yet.

  python main.py --config=configs/extrema_vits16.py --workdir=runs/extrema_vits16
"""

from maskrep.configs.base.extrema import extrema


def get_config():
  return extrema(size='S', ratio=0.8, count=5)
