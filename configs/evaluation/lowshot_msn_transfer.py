"""MSN's linear evaluation on CIFAR (arXiv:2204.07141, appendix A.5.1, Table 6).

Without a variant CIFAR-10 with 4000 labels; `:cifar10` with all 50,000; `:cifar100`. Each image is resized to 256
pixels and cropped to the central 224; logistic regression with an L2 penalty on the frozen features. As in the authors'
code for few labels: the class token of the last block, without the final norm, centred over its channels and of unit
length, and no bias. Our reading: the 4000 labels are 400 per class, drawn three times, and the penalty is chosen from
four by 5-fold cross-validation on the labels. Not run by us yet.

  maskrep evaluate lowshot --workdir=DIR --config=lowshot_msn_transfer
"""

from maskrep.configs.base.evaluation import authors_low_shot, evaluation
from maskrep.configs.base.sections import imagenet_data, low_shot

VARIANTS = 'cifar10_4000', 'cifar10', 'cifar100'


def get_config(variant: str = 'cifar10_4000'):
  if variant not in VARIANTS:
    raise ValueError(f'lowshot_msn_transfer:{variant}: the variants are {", ".join(VARIANTS)}')
  config = evaluation('lowshot', imagenet_data())
  config.data.update(source=f'tfds:{variant.partition("_")[0]}', eval_split='test')
  config.lowshot = low_shot()
  config = authors_low_shot(config)
  config.lowshot.update(l2=(0.001, 0.01, 0.1, 1.0), folds=5)
  if variant == 'cifar10_4000':
    config.lowshot.labels_per_class = (400,)
  else:
    config.lowshot.update(labels_per_class=(), fractions=(1.0,), draws=1)
  return config
