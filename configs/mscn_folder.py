"""MSCN on your own images, no labels needed.

  python main.py --config=configs/mscn_folder.py --workdir=runs/mine --config.data.source=folder:PATH
"""

from maskrep.configs.base.mscn import mscn
from maskrep.configs.base.small import SIZES, check_variant, on_folder, on_two_cores


def get_config(variant: str = ''):
  check_variant('mscn_folder', variant)
  if not variant:
    return on_folder(mscn(epochs=300), warmup=0.05)
  size = SIZES[variant]
  config = on_two_cores(mscn(epochs=40), size=size)
  config.views.update(
    crop_scale=(0.4, 1.0), jitter_strength=(0.4, 0.4, 0.2, 0.05), grey=0.0, blur=0.0, high_pass_sigma=0.0)
  config.first_mask.cell = config.second_mask.cell = size // 8
  config.encoder.update(
    depth=18, width=0.5 if size == 64 else 0.25, stem='imagenet' if size == 64 else 'small', zero_init_residual=False)
  config.projector.update(hidden=256, output=128)
  config.optim.update(
    optimizer_kind='adamw', learning_rate=2e-3, weight_decay=1e-2, final_weight_decay=1e-2)
  return config
