"""ExtreMA: extreme masking, Wu et al. 2022, arXiv:2206.04667."""

import ml_collections

from maskrep.configs.base.sections import IMAGENET_MEAN, IMAGENET_STD, imagenet, section, vit


def extrema(
  *, size: str, ratio: float, count: int, epochs: int = 300, loss: str = 'byol'
) -> ml_collections.ConfigDict:
  """ExtreMA on ImageNet-1k, a CaiT with patches of 16 pixels (arXiv:2206.04667, sections 3, 5.1 and 5.2).

  Settings that the paper does not give are those of the authors' code and README; docs/extrema.md names each source.
  """
  config = imagenet(batch_size=2048, epochs=epochs)
  config.method = 'extrema'
  config.views = section(
    size=224, crop_scale=(0.2, 1.0), flip=0.5, jitter=0.8, jitter_strength=(0.4, 0.4, 0.2, 0.1), grey=0.2, blur=0.0,
    solarise=0.0, mean=IMAGENET_MEAN, std=IMAGENET_STD, augmentations=2, shared_crop=True)
  config.masking = section(ratio=ratio, count=count)
  config.encoder = vit(size, 16)
  config.encoder.update(
    kind='cait', weight_init='xavier', drop_path=0.1, class_depth=2, layer_scale=0.1, instance='class_attention',
    positions='sincos', trunk_scale=0.0, talking_heads=False)
  config.projector = section(hidden=4096, output=256, layers=3)
  config.predictor = section(hidden=4096, output=256, layers=2)
  config.objective = section(loss_kind=loss, temperature=0.2)
  per_image = config.get_ref('batch_size').to_float() / 256
  config.optim = section(
    optimizer_kind='adamw',
    warmup_learning_rate=0.0, learning_rate=per_image * 1.5e-4, final_learning_rate=0.0, warmup_epochs=40.0,
    schedule_stretch=1.0, weight_decay=0.1, final_weight_decay=0.1, beta1=0.9, beta2=0.95, clip_norm=0.0,
    ema_momentum=0.996, final_ema_momentum=1.0, ema_schedule='cosine')
  return config
