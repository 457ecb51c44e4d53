"""Supervised + MIM on your own images with labels: ViT-S/14 at 224 pixels on one GPU; variants for two CPU cores.

It predicts the pixels of masked patches, so no tokenizer is needed. It needs one sub-folder per class in `train`, and
their number N in --config.regularisation.num_classes=N; without labels use another method. Training uses every label,
so a comparison with pixels on few labels favours the trained features.

  python main.py --config=configs/mim_folder.py --workdir=runs/mine --config.data.source=folder:PATH
  python main.py --config=configs/mim_folder.py:small --workdir=runs/mine --config.data.source=folder:PATH

`:small` has views of 64 pixels and `:tiny` of 32; what they reach is in docs/small_data.md. The GPU run is not run yet.
The paper predicts the tokens of a VQGAN; the variants mask 50 %, not the paper's 20 %.
"""

from maskrep.configs.base.mim import supervised_mim
from maskrep.configs.base.small import SIZES, check_variant, on_folder, on_two_cores, small_vit


def get_config(variant: str = ''):
  check_variant('mim_folder', variant)
  size = SIZES.get(variant)
  config = supervised_mim(size='S', epochs=40 if size else 300, augreg=not size)
  config.target.kind = 'pixels'
  config.decoder.update(width=384, heads=6)
  if not size:
    return on_folder(config, warmup=0.05)
  config = on_two_cores(config, size=size)
  config.encoder = small_vit(size)
  config.decoder.update(width=128, heads=4)
  config.views.update(crop_scale=(0.4, 1.0))
  config.masking.ratio = 0.5
  config.optim.update(ema_momentum=0.0, final_ema_momentum=0.0)
  return config
