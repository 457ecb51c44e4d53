"""Supervised + MIM: supervised training with masked image modelling, Chen et al. 2023."""

import ml_collections

from maskrep.configs.base.sections import epochs_of, imagenet, section, vit
from maskrep.configs.base.vqgan import vqgan_f16

WEIGHT_DECAY = {'B': 0.03, 'L': 0.1}  # Table 1
# Pre-training on ImageNet-21k: epochs, and the weight of MIM.
IN21K = {'30_baseline': (30, 0.0), '300_baseline': (300, 0.0), '30': (30, 1.0), '300': (300, 1.0)}


def supervised_mim(
  *, size: str, epochs: int, weight_decay: float = WEIGHT_DECAY['B'], mim_weight: float = 1.0, augreg: bool = True
) -> ml_collections.ConfigDict:
  """Supervised + MIM on VQGAN tokens, ImageNet-1k, patches of 14 pixels (Chen et al. 2023, section 4.1, Table 1)."""
  config = imagenet(batch_size=4096, epochs=epochs)
  config.method = 'mim'
  config.views = section(
    size=224, crop_scale=(0.05, 1.0), flip=0.5, jitter=0.0, jitter_strength=(0.0, 0.0, 0.0, 0.0), grey=0.0, blur=0.0,
    solarise=0.0, mean=(0.5,) * 3, std=(0.5,) * 3, rand_layers=2 if augreg else 0, rand_operations='augreg',
    rand_magnitude=15.0)
  config.masking = section(ratio=0.2, supervised=False)
  config.encoder = vit(size, 14)
  rate = 0.1 if augreg else 0.0
  config.encoder.update({'drop_path': rate, 'dropout': rate, 'class_token': False})
  config.decoder = section(width=768, depth=1, heads=12)
  config.target = section(kind='tokens', size=256, weights='')
  config.tokenizer = vqgan_f16()
  config.regularisation = section(
    num_classes=1000, label_smoothing=0.0, mixup_alpha=0.5 if augreg else 0.0, cutmix_alpha=0.0, erase=0.0)
  config.objective = section(
    supervised_pooling='average', mim_pooling='average', mim_weight=mim_weight, mim_reduction='mean',
    masked_only=False, carry_decoder=False)
  config.optim = section(
    optimizer_kind='adamw',
    warmup_learning_rate=0.0, learning_rate=1e-3, final_learning_rate=0.0,
    warmup_epochs=epochs_of(config, 10_000, 1_281_167), schedule_stretch=1.0, weight_decay=weight_decay,
    final_weight_decay=weight_decay, beta1=0.9, beta2=0.96, clip_norm=1.0, ema_momentum=0.0, final_ema_momentum=0.0,
    ema_schedule='linear')
  return config


def finetune_in1k(size: str, *, mim_weight: float = 1.0) -> ml_collections.ConfigDict:
  """Fine-tuning a run of `in21k` on ImageNet-1k: 20 000 steps, batch 512, no AugReg (section 4.1).

  With MIM it starts from the run's decoder too. That is our reading of the paper, as is SGD with momentum 0.9, without
  weight decay and with 500 steps of warm-up: AugReg's transfer has the same learning rate, batch and steps.
  """
  config = supervised_mim(size=size, epochs=1, weight_decay=0.0, mim_weight=mim_weight, augreg=False)
  config.batch_size = 512
  config.train.epochs = epochs_of(config, 20_000, 1_281_167)
  config.train.init_from = f'runs/mim_vit{size.lower()}14_in21k'
  config.objective.carry_decoder = mim_weight > 0
  config.optim.update(optimizer_kind='sgd', learning_rate=3e-2)
  config.optim.warmup_epochs = epochs_of(config, 500, 1_281_167)
  return config


def in21k(size: str, variant: str) -> ml_collections.ConfigDict:
  """Training on a folder of ImageNet-21k, without AugReg; `variant` is one of `IN21K`."""
  if variant not in IN21K:
    raise ValueError(f'variant {variant!r}: the variants are {", ".join(IN21K)}')
  epochs, mim_weight = IN21K[variant]
  config = supervised_mim(
    size=size, epochs=epochs, weight_decay=WEIGHT_DECAY[size], mim_weight=mim_weight, augreg=False)
  config.data.update(source='folder:imagenet21k', eval_split='')
  config.regularisation.num_classes = 21_841
  config.optim.warmup_epochs = epochs_of(config, 10_000, 14_197_122)
  return config
