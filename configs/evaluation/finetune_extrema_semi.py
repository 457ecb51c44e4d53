"""ExtreMA's semi-supervised learning: fine-tuning on 1 % of the labels of ImageNet-1k (arXiv:2206.04667, section 5.3).

Table 10; `:10pct` is 10 %. The classifier is on the output of the first layer of the projector, which starts from the
weights of the run, like the encoder. AdamW, learning rate 5e-6, 1000 epochs, batch 1024. "The finetuning protocol and
data augmentation mainly follows BEiT", so all else is as in Table 13: weight decay 0.05, layer-wise decay 0.75, a
warm-up of 5 epochs, RandAugment(9, 0.5), mixup 0.8, CutMix 1.0, label smoothing 0.1, drop path 0.1. Our reading: 5e-6
is for the whole batch, the output is that of the layer's norm and GELU, as in SimCLR v2 (arXiv:2006.10029), and the
images are SimCLR's, from tfds. The paper's model is extrema_vitb16. Not run by us yet.

  maskrep evaluate finetune --workdir=DIR --config=finetune_extrema_semi
"""

from maskrep.configs.base.classify import finetune
from maskrep.configs.base.sections import section

VARIANTS = '1pct', '10pct'


def get_config(variant: str = '1pct'):
  if variant not in VARIANTS:
    raise ValueError(f'finetune_extrema_semi:{variant}: the variants are {", ".join(VARIANTS)}')
  config = finetune(batch_size=1024, epochs=1000, learning_rate=5e-6 * 256 / 1024, layer_decay=0.75)
  config.data.source = f'tfds:imagenet2012_subset/{variant}'
  config.objective.pooling = 'class_token'
  config.projector = section(hidden=4096, output=256, layers=3)  # the run's, if its sizes are others
  return config
