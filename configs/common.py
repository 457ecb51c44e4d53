"""What the configs share: the sizes of the encoders, and the defaults of each section."""

import ml_collections

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# Width, depth, heads: Touvron et al. 2021 (Ti, S), Dosovitskiy et al. 2021 (B, L, H).
VIT_SIZES = {'Ti': (192, 12, 3), 'S': (384, 12, 6), 'B': (768, 12, 12), 'L': (1024, 24, 16), 'H': (1280, 32, 16)}


def vit(size: str, patch_size: int) -> ml_collections.ConfigDict:
  width, depth, heads = VIT_SIZES[size]
  return section(
    patch_size=patch_size, width=width, depth=depth, heads=heads, mlp_ratio=4.0, drop_path=0.0, weight_init='normal',
    remat=False, scan=False)


def section(**fields) -> ml_collections.ConfigDict:
  return ml_collections.ConfigDict(fields)


def imagenet(*, batch_size: int, epochs: int) -> ml_collections.ConfigDict:
  """What pre-training on ImageNet-1k has in common, whatever the method."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.batch_size = batch_size
  config.compute_dtype = 'auto'
  config.data = section(
    source='tfds:imagenet2012', train_split='train', eval_split='validation', download=False, canvas=512, threads=16,
    max_broken_fraction=0.001, stall_timeout_s=600)
  config.train = section(
    epochs=float(epochs), microbatch=0, fsdp=1, log_every_steps=50, checkpoint_every_steps=1000, keep_checkpoints=3)
  config.eval = section(
    every_steps=12510, batch_size=512, crop_fraction=0.875, max_train_examples=100_000, knn_neighbours=20,
    knn_temperature=0.07, labels_per_class=(1, 2, 5), label_draws=3, baselines=())
  return config


def msn(*, size: str, patch_size: int, ratio: float, epochs: int) -> ml_collections.ConfigDict:
  """MSN on ImageNet-1k as in the paper (arXiv:2204.07141, appendix C) and the authors' code.

  Known deviations from the paper, all from the authors' code: see docs/msn.md.
  """
  config = imagenet(batch_size=1024, epochs=epochs)
  config.method = 'msn'
  config.views = section(
    size=224, focal_size=96, num_random=1, num_focal=10, crop_scale=(0.3, 1.0), focal_crop_scale=(0.05, 0.3),
    flip=0.5, jitter=0.8, jitter_strength=(0.4, 0.4, 0.4, 0.1), grey=0.2, blur=0.5, solarise=0.0,
    mean=IMAGENET_MEAN, std=IMAGENET_STD)
  config.masking = section(ratio=ratio, shared=False)
  config.encoder = vit(size, patch_size)
  config.head = section(hidden=2048, output=256, layers=3)
  config.objective = section(
    num_prototypes=1024, temperature=0.1, target_temperature=0.025, sinkhorn_iterations=3, memax_weight=1.0,
    entropy_weight=0.0)
  per_image = config.get_ref('batch_size').to_float() / 1024
  config.optim = section(
    warmup_learning_rate=per_image * 2e-4, learning_rate=per_image * 1e-3, final_learning_rate=1e-6, warmup_epochs=15.0,
    schedule_stretch=1.25, weight_decay=0.04, final_weight_decay=0.4, beta1=0.9, beta2=0.999, clip_norm=3.0,
    ema_momentum=0.996, final_ema_momentum=1.0, ema_schedule='linear')
  return config


def extrema(
  *, size: str, ratio: float, count: int, epochs: int = 300, loss: str = 'byol'
) -> ml_collections.ConfigDict:
  """ExtreMA on ImageNet-1k, patches of 16 (arXiv:2206.04667, section 4 and appendix)."""
  config = imagenet(batch_size=2048, epochs=epochs)
  config.method = 'extrema'
  config.views = section(
    size=224, crop_scale=(0.2, 1.0), flip=0.5, jitter=0.8, jitter_strength=(0.4, 0.4, 0.2, 0.1), grey=0.2, blur=0.0,
    solarise=0.0, mean=IMAGENET_MEAN, std=IMAGENET_STD, augmentations=2, shared_crop=True)
  config.masking = section(ratio=ratio, count=count)
  config.encoder = vit(size, 16)
  config.encoder.update(drop_path=0.1, class_depth=2, layer_scale=0.1, instance='class_attention')
  config.projector = section(hidden=4096, output=256, layers=3)
  config.predictor = section(hidden=4096, output=256, layers=2)
  config.objective = section(loss_kind=loss, temperature=0.2)
  per_image = config.get_ref('batch_size').to_float() / 256
  config.optim = section(
    warmup_learning_rate=0.0, learning_rate=per_image * 1.5e-4, final_learning_rate=0.0, warmup_epochs=40.0,
    schedule_stretch=1.0, weight_decay=0.1, final_weight_decay=0.1, beta1=0.9, beta2=0.95, clip_norm=0.0,
    ema_momentum=0.996, final_ema_momentum=1.0, ema_schedule='cosine')
  return config
