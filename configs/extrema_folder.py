"""ExtreMA on your own images, no labels needed.

  python main.py --config=configs/extrema_folder.py --workdir=runs/mine --config.data.source=folder:PATH
"""

from maskrep.configs.base.extrema import extrema
from maskrep.configs.base.small import SIZES, check_variant, on_folder, on_two_cores, small_vit


def get_config(variant: str = ''):
  check_variant('extrema_folder', variant)
  if not variant:
    return on_folder(extrema(size='S', ratio=0.8, count=5), warmup=0.1)
  size = SIZES[variant]
  config = on_two_cores(extrema(size='Ti', ratio=0.75, count=4, epochs=40, loss='infonce'), size=size)
  config.encoder.update(small_vit(size).to_dict() | {'kind': 'cait', 'depth': 3, 'class_depth': 1})
  config.views.update(
    crop_scale=(0.6, 1.0), jitter_strength=(0.4, 0.4, 0.2, 0.05), grey=0.0, shared_crop=False)
  config.projector.update(hidden=256, output=128)
  config.predictor.update(hidden=256, output=128)
  config.optim.update(
    warmup_learning_rate=2e-4, learning_rate=2e-3, weight_decay=0.04, final_weight_decay=0.04, ema_momentum=0.99)
  return config
