"""ExtreMA on your own images, no labels needed: CaiT-S/16 at 224 pixels on one GPU; `:small`, `:tiny` on two CPU cores.

Folders and labels are as for configs/msn_folder.py. `:small` has views of 64 pixels and `:tiny` of 32; their loss is
InfoNCE, because BYOL's collapsed on the digits (docs/extrema.md).

  python main.py --config=configs/extrema_folder.py --workdir=runs/mine --config.data.source=folder:PATH
  python main.py --config=configs/extrema_folder.py:small --workdir=runs/mine --config.data.source=folder:PATH

What they reach, and what they do not, is in docs/small_data.md. The GPU run has not been run by us.
"""

from maskrep.configs.base.extrema import extrema
from maskrep.configs.base.small import SIZES, check_variant, on_folder, on_two_cores, small_vit


def get_config(variant: str = ''):
  check_variant('extrema_folder', variant)
  if not variant:
    return on_folder(extrema(size='S', ratio=0.8, count=5), warmup=0.1)
  size = SIZES[variant]
  config = on_two_cores(extrema(size='Ti', ratio=0.75, count=4, epochs=150, loss='infonce'), size=size)
  config.encoder.update(small_vit(size).to_dict() | {'kind': 'cait', 'class_depth': 1})
  config.views.update(crop_scale=(0.3, 1.0), jitter=0.8, grey=0.1, shared_crop=False)
  config.projector.update(hidden=256, output=128)
  config.predictor.update(hidden=256, output=128)
  config.optim.update(weight_decay=0.04, final_weight_decay=0.04)
  return config
