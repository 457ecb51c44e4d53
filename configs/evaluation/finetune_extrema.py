"""ExtreMA's fine-tuning of a CaiT-B/16 on ImageNet-1k: AdamW, batch 1024, 100 epochs (arXiv:2206.04667, table 13).

Our reading, of the recipe of BEiT and MAE, which it follows: base learning rate 5e-4 for 256 images, weight decay 0.05,
layer-wise decay 0.65, a warm-up of 5 epochs, RandAugment(9, 0.5), mixup 0.8, CutMix 1.0, label smoothing 0.1, drop path
0.1. The blocks of class attention are the last two layers of the decay. RandAugment applies both operations where
theirs applies each half the time. Not run by us yet.

  python -m maskrep evaluate finetune --workdir=DIR --config=configs/evaluation/finetune_extrema.py
"""

from configs import common


def get_config():
  return common.finetune(batch_size=1024, epochs=100, learning_rate=5e-4, layer_decay=0.65)
