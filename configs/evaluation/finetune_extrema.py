"""ExtreMA's fine-tuning of a CaiT-B/16 on ImageNet-1k: AdamW, batch 1024, 100 epochs (arXiv:2206.04667, table 13).

Our reading, from the recipe of BEiT and MAE that it follows: base learning rate 5e-4 for 256 images, weight decay 0.05,
layer-wise decay 0.65, a warm-up of 5 epochs, RandAugment(9, 0.5), mixup 0.8, CutMix 1.0, label smoothing 0.1, drop path
0.1. For layer-wise decay, the blocks of class attention are the last two layers. Our RandAugment always applies both of
its operations; theirs applies each with a probability of one half. Not run by us yet.

  maskrep evaluate finetune --workdir=DIR --config=finetune_extrema
"""

from maskrep.configs.base.classify import finetune


def get_config():
  return finetune(batch_size=1024, epochs=100, learning_rate=5e-4, layer_decay=0.65)
