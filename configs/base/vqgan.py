"""VQGAN: Esser et al. 2021, arXiv:2012.09841."""

import ml_collections

from maskrep.configs.base.sections import imagenet, section


def vqgan_f16() -> ml_collections.ConfigDict:
  """The tokenizer published as vqgan_imagenet_f16_1024 (Esser et al. 2021): 256 pixels to 16x16 tokens."""
  return section(
    channels=128, multipliers=(1, 1, 2, 2, 4), encoder_blocks=2, decoder_blocks=3, embedding=256, codebook_size=1024,
    input_range=(-1.0, 1.0), design='taming', attention_levels=(4,), groups=32)


def vqgan_digits() -> ml_collections.ConfigDict:
  """A small tokenizer: 16 pixels to 4x4 tokens."""
  return section(
    channels=8, multipliers=(1, 2, 4), encoder_blocks=1, decoder_blocks=1, embedding=16, codebook_size=64,
    input_range=(0.0, 1.0), design='maskgit', attention_levels=(), groups=4)


def vqgan() -> ml_collections.ConfigDict:
  """Training the tokenizer `vqgan_f16` on ImageNet-1k (Esser et al. 2021)."""
  config = imagenet(batch_size=256, epochs=50)
  config.method = 'vqgan'
  config.views = section(
    size=256, crop_scale=(0.5, 1.0), flip=0.5, jitter=0.0, jitter_strength=(0.0, 0.0, 0.0, 0.0), grey=0.0, blur=0.0,
    solarise=0.0, mean=(0.0,) * 3, std=(1.0,) * 3)
  config.tokenizer = vqgan_f16()
  config.discriminator = section(width=64, layers=3, groups=32)
  config.objective = section(
    reconstruction_kind='l1', commitment_weight=0.25, entropy_weight=0.1, entropy_temperature=0.01,
    discriminator_weight=0.1, adaptive_weight=False, discriminator_start_step=50_000)
  per_image = config.get_ref('batch_size').to_float() / 256
  config.optim = section(
    optimizer_kind='adamw',
    warmup_learning_rate=0.0, learning_rate=per_image * 1e-4, final_learning_rate=0.0, warmup_epochs=1.0,
    schedule_stretch=1.0, weight_decay=0.0, final_weight_decay=0.0, beta1=0.5, beta2=0.9, clip_norm=0.0,
    ema_momentum=0.999, final_ema_momentum=0.999, ema_schedule='linear')
  return config
