"""Fine-tuning a Transformer's last block on ImageNet-1k (MAE, arXiv:2111.06377, section 4.3 and appendix A.3).

The settings are those of MAE's fine-tuning, for 200 epochs: the paper takes the best of 50, 100 and 200, and finds that
training few blocks needs many epochs. Our reading: base learning rate 1e-3 for 256 images and layer-wise decay 0.75, so
that the last block's learning rate is 0.75 of the classifier's. Our RandAugment always applies both of its operations;
theirs applies each with a probability of one half. Not run by us yet.

MSN compares MAE so (arXiv:2204.07141, Table 13): `:1pct` is 1 % of the labels, SimCLR's split as tfds has it; `:2imgs`
and `:5imgs` are 2 and 5 images per class, by the lists that facebookresearch/msn publishes in the folders
imagenet_subsets1 to 3 (its third list of 5 images is named 3imgs_class.txt), with one run per list and the mean. MSN
does not fine-tune on 1 image per class, as `:1img` does; its batch is 500, as there are 1000 images. MSN does not give
the settings: they are as above.

  maskrep evaluate partial --workdir=DIR --config=partial_in1k
  maskrep evaluate partial --workdir=DIR --config=partial_in1k:5imgs
"""

from maskrep.configs.base.classify import finetune

LISTS = {'1img': '1imgs_class.txt', '2imgs': '2imgs_class.txt', '5imgs': '[35]imgs_class.txt'}
VARIANTS = '', '1pct', *LISTS


def get_config(variant: str = ''):
  if variant not in VARIANTS:
    raise ValueError(f'partial_in1k:{variant}: the variants are {", ".join(VARIANTS[1:])}, or none')
  config = finetune(
    protocol='partial', trained='last_block', batch_size=500 if variant == '1img' else 1024, epochs=200,
    learning_rate=1e-3, layer_decay=0.75)
  if variant == '1pct':
    config.data.source = 'tfds:imagenet2012_subset/1pct'
  elif variant:
    config.lists = (f'imagenet_subsets*/{LISTS[variant]}',)
  return config
