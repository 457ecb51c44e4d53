"""Supervised + MIM on your own images, with labels: one sub-folder per class. The targets are pixels.

  python main.py --config=configs/mim_folder.py --workdir=runs/mine --config.data.source=folder:PATH
"""

from maskrep.configs.base.mim import supervised_mim
from maskrep.configs.base.small import SIZES, check_variant, on_folder, on_two_cores, small_vit


def get_config(variant: str = ''):
  check_variant('mim_folder', variant)
  if not variant:
    config = on_folder(supervised_mim(size='S', epochs=300, weight_decay=0.03), warmup=0.05)
    config.target.kind = 'pixels'
    config.decoder.update(width=384, heads=6)
    return config
  size = SIZES[variant]
  config = on_two_cores(supervised_mim(size='Ti', epochs=20, weight_decay=0.03, augreg=False), size=size)
  config.encoder = small_vit(size)
  config.encoder.update(dropout=0.0)
  config.target.kind = 'pixels'
  config.decoder.update(width=128, heads=4)
  config.views.update(crop_scale=(0.4, 1.0))
  config.masking.ratio = 0.5
  config.optim.update(warmup_learning_rate=2e-4, learning_rate=2e-3, beta2=0.95)
  return config
