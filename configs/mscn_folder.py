"""MSCN on your own images, no labels needed: ResNet-50 at 224 pixels on one GPU; `:small` and `:tiny` on two CPU cores.

Folders and labels are as for configs/msn_folder.py. `:small` has views of 64 pixels and `:tiny` of 32, and a ResNet-18
of a quarter of the width.

  python main.py --config=configs/mscn_folder.py --workdir=runs/mine --config.data.source=folder:PATH
  python main.py --config=configs/mscn_folder.py:small --workdir=runs/mine --config.data.source=folder:PATH

What they reach, and what they do not, is in docs/small_data.md. The GPU run has not been run by us.
"""

from maskrep.configs.base.mscn import mscn
from maskrep.configs.base.small import SIZES, check_variant, on_folder, on_two_cores


def get_config(variant: str = ''):
  check_variant('mscn_folder', variant)
  if not variant:
    return on_folder(mscn(epochs=300), warmup=0.05)
  size = SIZES[variant]
  config = on_two_cores(mscn(epochs=60), size=size)
  config.views.update(crop_scale=(0.3, 1.0), jitter=0.8, grey=0.1, blur=0.0, high_pass_sigma=size / 4)
  config.first_mask.cell = config.second_mask.cell = size // 8
  config.encoder.update(
    depth=18, width=0.25, stem='imagenet', zero_init_residual=False)
  config.objective.num_masks = 1
  config.projector.update(hidden=256, output=128, layers=3)  # the paper's has two
  config.optim.update(
    optimizer_kind='adamw', weight_decay=1e-2, final_weight_decay=1e-2, ema_momentum=0.0, final_ema_momentum=0.0)
  return config
