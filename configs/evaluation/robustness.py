"""A classifier of ImageNet-1k on ImageNet-A, -R, -Sketch, -V2, -ReaL and -C, as the linear probe of an encoder.

Top-1 accuracy of each, and the mean corruption error (Hendrycks & Dietterich 2019, arXiv:1903.12261). The papers of the
others: maskrep/data/sources/shifts.py. --workdir is a run that trained such a classifier. Every set has to be prepared for
tfds, and imagenet2012_corrupted in 75 parts that tfds makes anew from ImageNet's validation images. To leave them out:
--config.robustness.corruptions="()" --config.robustness.severities="()". Not run by us yet.

  python -m maskrep evaluate robustness --workdir=runs/mim_finetune_in1k
"""

from configs import common


def get_config():
  config = common.evaluation('robustness')
  # How images are read. Which, the sets say: source and splits are those of the first.
  config.data.update(source='tfds:imagenet_a', train_split='test', eval_split='test')
  config.robustness = common.section(
    sets=('imagenet_a', 'imagenet_r', 'imagenet_sketch', 'imagenet_v2', 'imagenet_real'),
    corruptions=(
      'gaussian_noise', 'shot_noise', 'impulse_noise', 'defocus_blur', 'glass_blur', 'motion_blur', 'zoom_blur', 'snow',
      'frost', 'fog', 'brightness', 'contrast', 'elastic_transform', 'pixelate', 'jpeg_compression'),
    severities=(1, 2, 3, 4, 5))
  return config
