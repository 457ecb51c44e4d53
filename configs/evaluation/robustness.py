"""Robustness of an ImageNet-1k classifier: ImageNet-A, -R, -Sketch, -V2, -ReaL and -C.

--workdir is a run that trained such a classifier, for example a linear probe. The figures are the top-1 accuracy on
each set and the mean corruption error (Hendrycks & Dietterich 2019, arXiv:1903.12261). The papers of the other sets are
listed in maskrep/data/sources/shifts.py. Every set has to be prepared for tfds; imagenet2012_corrupted has 75 parts,
which tfds generates from ImageNet's validation images. `:msn` is ImageNet-A, -R, -Sketch and -C (arXiv:2204.07141,
Table 14); `:mim` is ImageNet-ReaL and -V2 (Chen et al. 2023, Table 3). Not run by us yet.

  maskrep evaluate robustness --workdir=runs/mim_finetune_in1k
"""

from maskrep.configs.base.evaluation import evaluation
from maskrep.configs.base.sections import section

VARIANTS = 'msn', 'mim', ''


def get_config(variant: str = ''):
  if variant not in VARIANTS:
    raise ValueError(f'robustness:{variant}: the variants are msn and mim, or none')
  config = evaluation('robustness')
  # How images are read. `sets` selects the images; source and splits are those of the first set.
  config.data.update(source='tfds:imagenet_a', train_split='test', eval_split='test')
  config.robustness = section(
    sets=('imagenet_a', 'imagenet_r', 'imagenet_sketch', 'imagenet_v2', 'imagenet_real'),
    corruptions=(
      'gaussian_noise', 'shot_noise', 'impulse_noise', 'defocus_blur', 'glass_blur', 'motion_blur', 'zoom_blur', 'snow',
      'frost', 'fog', 'brightness', 'contrast', 'elastic_transform', 'pixelate', 'jpeg_compression'),
    severities=(1, 2, 3, 4, 5))
  if variant == 'msn':
    config.robustness.sets = ('imagenet_a', 'imagenet_r', 'imagenet_sketch')
  elif variant == 'mim':
    config.data.update(source='tfds:imagenet2012_real', train_split='validation', eval_split='validation')
    config.robustness.update(sets=('imagenet_real', 'imagenet_v2'), corruptions=(), severities=())
  return config
