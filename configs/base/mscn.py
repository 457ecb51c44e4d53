"""MSCN: Masked Siamese ConvNets, Jing et al. 2022, arXiv:2206.07700."""

import ml_collections

from maskrep.configs.base.sections import IMAGENET_MEAN, IMAGENET_STD, imagenet, section


def mscn(*, epochs: int, ratio: float = 0.15, learning_rate: float = 4.8) -> ml_collections.ConfigDict:
  """MSCN with SimCLR's loss, ResNet-50 on ImageNet-1k, batch 4096 (arXiv:2206.07700, section 4 and appendix A.1).

  A ratio of 0.15 is the best of Table 5, and that of Figure 1's final model; sections 4.3 to 4.5, and thus Tables 6 to
  10, use 0.3.

  Unlike for a ViT, `config.train.microbatch` is not exact for a ResNet: above 0, batch norm uses one microbatch (ghost
  batch norm), while heads and loss still use the global batch. At 0, batch norm uses the global batch too.
  """
  config = imagenet(batch_size=4096, epochs=epochs)
  config.method = 'mscn'
  config.views = section(
    size=224, crop_scale=(0.08, 1.0), flip=0.5, jitter=0.8, jitter_strength=(0.8, 0.8, 0.8, 0.2), grey=0.2, blur=0.5,
    solarise=0.0, mean=IMAGENET_MEAN, std=IMAGENET_STD, high_pass_sigma=5.0,
    shared='nothing')
  config.first_mask = section(
    cell=32, ratio=ratio, focal=0.2, focal_area=(0.2, 0.6), channelwise=0.7, noise_std=0.5)
  config.second_mask = section(
    cell=32, ratio=ratio, focal=0.0, focal_area=(0.2, 0.6), channelwise=0.7, noise_std=0.25)
  config.encoder = section(kind='resnet', depth=50, width=1.0, stem='imagenet', zero_init_residual=True)
  config.projector = section(hidden=2048, output=256, layers=2, norm_output=True)
  config.objective = section(loss_kind='infonce', temperature=0.2, num_masks=2)
  per_image = config.get_ref('batch_size').to_float() / 4096
  config.optim = section(
    optimizer_kind='lars',
    warmup_learning_rate=0.0, learning_rate=per_image * learning_rate, final_learning_rate=0.0, warmup_epochs=10.0,
    schedule_stretch=1.0, weight_decay=1e-6, final_weight_decay=1e-6, beta1=0.9, beta2=0.999, clip_norm=0.0,
    ema_momentum=0.0, final_ema_momentum=0.0, ema_schedule='cosine')
  return config


def mscn_byol(*, epochs: int) -> ml_collections.ConfigDict:
  """MSCN with the loss, heads, teacher and learning rate of BYOL (appendix A.1), and the same augmentations."""
  config = mscn(epochs=epochs, learning_rate=3.2)
  config.projector = section(hidden=4096, output=256, layers=2, norm_output=False)
  config.predictor = section(hidden=4096, output=256, layers=2, norm_output=False)
  config.objective.loss_kind = 'byol'
  config.optim.update(
    weight_decay=1.5e-6, final_weight_decay=1.5e-6, ema_momentum=0.996, final_ema_momentum=1.0)
  return config
