"""MSN on your own images, no labels needed.

  python main.py --config=configs/msn_folder.py --workdir=runs/mine --config.data.source=folder:PATH
"""

from maskrep.configs.base.msn import msn
from maskrep.configs.base.small import SIZES, check_variant, on_folder, on_two_cores, small_vit


def get_config(variant: str = ''):
  check_variant('msn_folder', variant)
  if not variant:
    return on_folder(msn(size='S', patch_size=16, ratio=0.15, epochs=300), warmup=0.05)
  size = SIZES[variant]
  config = on_two_cores(msn(size='Ti', patch_size=16, ratio=0.3, epochs=40), size=size)
  config.encoder = small_vit(size)
  config.views.update(
    focal_size=size // 2, num_focal=2, crop_scale=(0.4, 1.0), focal_crop_scale=(0.1, 0.4),
    jitter_strength=(0.4, 0.4, 0.2, 0.05), grey=0.0, blur=0.0)
  config.head.update(hidden=256, output=128)
  config.objective.num_prototypes = 128
  config.optim.update(
    warmup_learning_rate=2e-4, learning_rate=2e-3, schedule_stretch=1.0, final_weight_decay=0.04, beta2=0.95,
    ema_momentum=0.99)
  return config
