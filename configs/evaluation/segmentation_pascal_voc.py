"""Semantic segmentation of Pascal VOC 2012 by a linear layer on the patches: Chen et al. 2023, section 4.4.

Encoder and linear decoder at 448 pixels, seven learning rates with three seeds each, as in segmentation_ade20k.py. Our
reading: as there, with 80 000 steps; and the training split with SBD's pictures, as usual. Not run by us yet.

The data are the folder in which VOCtrainval_11-May-2012.tar and SBD's benchmark.tgz were unpacked: it then holds
VOCdevkit/VOC2012 and benchmark_RELEASE. See `maskrep/data/sources/scene_folders.py` for the files that are read.

  maskrep evaluate segmentation --workdir=runs/mim_vitb14 --config=segmentation_pascal_voc
"""

from maskrep.configs.base.segment import linear_decoder_448


def get_config():
  return linear_decoder_448(
    'pascal_voc:pascal_voc', train_split='trainaug', eval_split='val', examples=10_582, epochs=80_000 * 16 / 10_582,
    classes=21, canvas=512)
