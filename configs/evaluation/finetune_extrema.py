"""ExtreMA's fine-tuning on ImageNet-1k: AdamW, batch 1024 (arXiv:2206.04667, section 5.1, appendix E, Table 13).

On the distributed representation, the average of the patch tokens: the blocks of class attention are neither trained
nor layers of the layer-wise decay. Without a variant for encoders trained on ImageNet-1k: 100 epochs, base learning
rate 1e-3 for 256 images, layer-wise decay 0.75; `:vits16` for 200 epochs; `:in22k` for encoders trained on
ImageNet-22k: 5e-4 and 0.65. Our reading, from the recipe of BEiT and MAE that it follows: weight decay 0.05, a
warm-up of 5 epochs, RandAugment(9, 0.5), mixup 0.8, CutMix 1.0, label smoothing 0.1, drop path 0.1. Our RandAugment
always applies both of its operations; theirs applies each with a probability of one half. Not run by us yet.

  maskrep evaluate finetune --workdir=DIR --config=finetune_extrema
"""

from maskrep.configs.base.classify import finetune

VARIANTS = '', 'vits16', 'in22k'


def get_config(variant: str = ''):
  if variant not in VARIANTS:
    raise ValueError(f'finetune_extrema:{variant}: the variants are vits16 and in22k, or none')
  rate, decay = (5e-4, 0.65) if variant == 'in22k' else (1e-3, 0.75)
  config = finetune(
    batch_size=1024, epochs=200 if variant == 'vits16' else 100, learning_rate=rate, layer_decay=decay)
  config.objective.pooling = 'average'
  return config
