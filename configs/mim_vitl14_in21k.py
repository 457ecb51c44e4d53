"""Supervised + MIM, ViT-L/14: 300 epochs of ImageNet-21k without AugReg, batch 4096 (Chen et al. 2023, section 4).

ImageNet-21k is not in tfds: data.source is a folder of its images, one folder per class. Not run by us yet.

  python main.py --config=configs/mim_vitl14_in21k.py --config.data.source=folder:PATH --workdir=DIR
"""

from maskrep.configs.base.mim import in21k, supervised_mim


def get_config():
  return in21k(supervised_mim(size='L', epochs=300, weight_decay=0.1, augreg=False))
