"""Semantic segmentation of Pascal Context by a linear layer on the patches: Chen et al. 2023, section 4.4.

Encoder and linear decoder at 448 pixels, seven learning rates with three seeds each, as in segmentation_ade20k.py. Our
reading: as there, with 80 000 steps; and 60 classes, of which one is the background. Without it:
--config.data.source=pascal_context_59:VOCdevkit/VOC2010 --config.objective.map_classes=59. Not run by us yet.

The data are a VOCdevkit/VOC2010 with the maps and lists that mmsegmentation's converter, pascal_context.py, makes of
trainval_merged.json. See `maskrep/data/sources/scene_folders.py` for the files that are read.

  maskrep evaluate segmentation --workdir=runs/mim_vitb14 --config=segmentation_pascal_context
"""

from maskrep.configs.base.segment import linear_decoder_448


def get_config():
  return linear_decoder_448(
    'pascal_context:VOCdevkit/VOC2010', train_split='train', eval_split='val', examples=4998,
    epochs=80_000 * 16 / 4998, classes=60, canvas=512)
