"""MSN on your own images, no labels needed: ViT-S/16 at 224 pixels on one GPU; `:small` and `:tiny` on two CPU cores.

Give a folder of images; sub-folders are fine. With one sub-folder per class and a `val` folder beside `train`, the run
also measures k-NN accuracy: set --config.data.eval_split=val.

  python main.py --config=configs/msn_folder.py --workdir=runs/mine --config.data.source=folder:PATH
  python main.py --config=configs/msn_folder.py:small --workdir=runs/mine --config.data.source=folder:PATH

`:small` has views of 64 pixels and `:tiny` of 32. The GPU run has not been run by us; what `:small` reaches, and what
it does not, is in docs/small_data.md. Changed from the paper: batch, network, views, number of prototypes, EMA.
"""

from maskrep.configs.base.msn import msn
from maskrep.configs.base.small import SIZES, check_variant, on_folder, on_two_cores, small_vit


def get_config(variant: str = ''):
  check_variant('msn_folder', variant)
  if not variant:
    return on_folder(msn(size='S', patch_size=16, ratio=0.15, epochs=300), warmup=0.05)
  size = SIZES[variant]
  config = on_two_cores(msn(size='Ti', patch_size=16, ratio=0.3, epochs=150), size=size)
  config.encoder = small_vit(size)
  # Target and focal views show objects at the same magnification, see docs/msn.md.
  config.views.update(
    focal_size=size // 2, num_focal=2, crop_scale=(0.3, 1.0), focal_crop_scale=(0.05, 0.3), jitter=0.8, grey=0.1,
    blur=0.0)
  config.head.update(hidden=256, output=128)
  config.objective.num_prototypes = 64
  config.optim.update(schedule_stretch=1.0, final_weight_decay=0.04)
  return config
