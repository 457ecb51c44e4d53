"""MSN: Masked Siamese Networks, Assran et al. 2022, arXiv:2204.07141."""

import ml_collections

from maskrep.configs.base.sections import IMAGENET_MEAN, IMAGENET_STD, imagenet, section, vit


def msn(*, size: str, patch_size: int, ratio: float, epochs: int) -> ml_collections.ConfigDict:
  """MSN on ImageNet-1k as in the paper (arXiv:2204.07141, section 5 and appendix A.1).

  Settings that the paper does not give are those of the authors' code; docs/msn.md names the source of each setting.
  """
  config = imagenet(batch_size=1024, epochs=epochs)
  config.method = 'msn'
  config.views = section(
    size=224, focal_size=96, num_random=1, num_focal=10, shared='nothing', crop_scale=(0.3, 1.0),
    focal_crop_scale=(0.05, 0.3), flip=0.5, jitter=0.8, jitter_strength=(0.4, 0.4, 0.4, 0.1), grey=0.2, blur=0.5,
    solarise=0.0, mean=IMAGENET_MEAN, std=IMAGENET_STD)
  config.masking = section(ratio=ratio, shared=False)
  config.encoder = vit(size, patch_size)
  config.encoder.weight_init = 'kaiming_patches'
  config.head = section(hidden=2048, output=256, layers=3)
  config.objective = section(
    num_prototypes=1024, temperature=0.1, target_temperature=0.025, sinkhorn_iterations=3, memax_weight=1.0,
    entropy_weight=0.0, batch_norm='by_resolution')
  per_image = config.get_ref('batch_size').to_float() / 1024
  config.optim = section(
    optimizer_kind='adamw',
    warmup_learning_rate=per_image * 2e-4, learning_rate=per_image * 1e-3, final_learning_rate=1e-6, warmup_epochs=15.0,
    schedule_stretch=1.25, first_step=1, weight_decay=0.04, final_weight_decay=0.4, beta1=0.9, beta2=0.999,
    clip_norm=3.0, ema_momentum=0.996, final_ema_momentum=1.0, ema_schedule='linear')
  return config
