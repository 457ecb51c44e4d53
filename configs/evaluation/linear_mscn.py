"""MSCN's linear evaluation on ImageNet-1k: a ResNet-50, SGD, batch 256, 100 epochs (arXiv:2206.07700, appendix A.2).

Learning rate 1.0 with a cosine schedule. The paper's weight decay of 1e-6 is added to the gradient; with a momentum of
0.9, which is our reading, it corresponds to about 1e-5 of our decoupled decay. Crops and flips, our reading too. Images
are high-pass filtered as in training. `:inat18` and `:places205` are other data (Table 3), whose learning rates the
paper does not give: ours are as above. Places-205 is a folder, places205/train/CLASS and places205/val/CLASS. Not run
by us yet.

  maskrep evaluate linear --workdir=DIR --config=linear_mscn
"""

from maskrep.configs.base.classify import classify

# Variant: source, evaluation split.
DATA = {'': ('tfds:imagenet2012', 'validation'), 'inat18': ('tfds:i_naturalist2018', 'validation'),
        'places205': ('folder:places205', 'val')}
VARIANTS = tuple(DATA)


def get_config(variant: str = ''):
  if variant not in VARIANTS:
    raise ValueError(f'linear_mscn:{variant}: the variants are inat18 and places205, or none')
  config = classify(
    protocol='linear', trained='head', batch_size=256, epochs=100, learning_rate=1.0, optimizer_kind='sgd',
    weight_decay=1e-5)
  config.data.source, config.data.eval_split = DATA[variant]
  return config
