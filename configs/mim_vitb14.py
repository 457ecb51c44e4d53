"""Supervised + MIM, ViT-B/14: 20 % of the patches masked, 300 epochs of ImageNet-1k with AugReg, batch 4096.

Chen et al. 2023, section 4: 81.72 % top-1 (Table 2). It needs a trained tokenizer: the workdir of a run of
configs/vqgan_f16_1024.py. Not run by us yet. For settings that the paper does not give, see docs/mim.md.

  python main.py --config=configs/mim_vitb14.py --config.target.weights=runs/vqgan_f16_1024 --workdir=runs/mim_vitb14
"""

from maskrep.configs.base.mim import supervised_mim


def get_config():
  return supervised_mim(size='B', epochs=300)
