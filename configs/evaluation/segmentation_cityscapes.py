"""Semantic segmentation of Cityscapes by a linear layer on the patches: Chen et al. 2023, section 4.4.

Encoder and linear decoder at 448 pixels, seven learning rates with three seeds each, as in segmentation_ade20k.py. Our
reading: as there, with 80 000 steps; and windows of 448 pixels at two thirds of that in evaluation, because images of
2048 x 1024, squashed to a square, would be half as wide as in training. Not run by us yet.

The data are the folder in which leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip were unpacked. See
`maskrep/data/sources/scene_folders.py` for the files that are read.

  maskrep evaluate segmentation --workdir=runs/mim_vitb14 --config=segmentation_cityscapes
"""

from maskrep.configs.base.segment import linear_decoder_448


def get_config():
  config = linear_decoder_448(
    'cityscapes:cityscapes', train_split='train', eval_split='val', examples=2975, epochs=80_000 * 16 / 2975,
    classes=19, canvas=2048)
  config.objective.stride = 299
  return config
