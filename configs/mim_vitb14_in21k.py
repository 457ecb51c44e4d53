"""Supervised + MIM, ViT-B/14: 30 epochs of ImageNet-21k without AugReg, batch 4096 (Chen et al. 2023, section 4).

ImageNet-21k is not in tfds: data.source is a folder of its images, one folder per class. Not run by us yet.

  python main.py --config=configs/mim_vitb14_in21k.py --config.data.source=folder:PATH --workdir=DIR
"""

from maskrep.configs.base.mim import in21k, supervised_mim


def get_config():
  return in21k(supervised_mim(size='B', epochs=30, weight_decay=0.03, augreg=False))
