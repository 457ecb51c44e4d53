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
    epochs=float(epochs), init_from='', freeze_encoder_steps=0, microbatch=0, fsdp=1, log_every_steps=50,
    checkpoint_every_steps=1000, keep_checkpoints=3)
  config.eval = section(
    every_steps=12510, batch_size=512, crop_fraction=0.875, max_train_examples=100_000, knn_neighbours=20,
    knn_temperature=0.07, labels_per_class=(1, 2, 5), label_draws=3, baselines=())
  return config


def evaluation(protocol: str, data: ml_collections.ConfigDict | None = None) -> ml_collections.ConfigDict:
  """A protocol on frozen features, by default on the data that the run was trained on."""
  config = ml_collections.ConfigDict()
  config.protocol = protocol
  config.seed = 0
  config.compute_dtype = 'auto'
  config.data = data or imagenet(batch_size=1, epochs=1).data
  if data is None:
    config.data.source = ''
  config.encoding = section(network='ema', pooling='', layers=1, size=0, batch_size=256)
  return config


def low_shot() -> ml_collections.ConfigDict:
  """1, 2 and 5 labels a class."""
  return section(labels_per_class=(1, 2, 5), fractions=(), lists=(), draws=3, l2=(0.1,), folds=0)


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
    optimizer_kind='adamw',
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
  config.encoder.update(
    drop_path=0.1, class_depth=2, layer_scale=0.1, instance='class_attention', positions='sincos', trunk_scale=0.0,
    talking_heads=False)
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


def mscn(*, epochs: int, learning_rate: float = 4.8) -> ml_collections.ConfigDict:
  """MSCN with SimCLR's loss, ResNet-50 on ImageNet-1k, batch 4096 (arXiv:2206.07700, section 4).

  `config.train.microbatch` is not exact here as it is for the other methods: above 0, the batch norm of the ResNet sees
  one microbatch (ghost batch norm), while heads and loss still see the global batch. At 0 it sees the global batch.
  """
  config = imagenet(batch_size=4096, epochs=epochs)
  config.method = 'mscn'
  config.views = section(
    size=224, crop_scale=(0.08, 1.0), flip=0.5, jitter=0.8, jitter_strength=(0.8, 0.8, 0.8, 0.2), grey=0.2, blur=0.5,
    solarise=0.0, mean=IMAGENET_MEAN, std=IMAGENET_STD)
  config.first_mask = section(
    cell=32, ratio=0.15, focal=0.2, focal_area=(0.2, 0.6), channelwise=0.7, noise_std=0.5)
  config.second_mask = section(
    cell=32, ratio=0.15, focal=0.0, focal_area=(0.2, 0.6), channelwise=0.7, noise_std=0.25)
  config.encoder = section(depth=50, width=1.0, stem='imagenet', zero_init_residual=True)
  config.projector = section(hidden=2048, output=256, layers=3, norm_output=True)
  config.objective = section(loss_kind='infonce', temperature=0.2, sigma=5.0, num_masks=2)
  per_image = config.get_ref('batch_size').to_float() / 4096
  config.optim = section(
    optimizer_kind='lars',
    warmup_learning_rate=0.0, learning_rate=per_image * learning_rate, final_learning_rate=0.0, warmup_epochs=10.0,
    schedule_stretch=1.0, weight_decay=1e-6, final_weight_decay=1e-6, beta1=0.9, beta2=0.999, clip_norm=0.0,
    ema_momentum=0.0, final_ema_momentum=0.0, ema_schedule='cosine')
  return config


def mscn_byol(*, epochs: int) -> ml_collections.ConfigDict:
  """The same with BYOL's loss, heads, teacher, colours and learning rate."""
  config = mscn(epochs=epochs, learning_rate=3.2)
  config.views.update(jitter_strength=(0.4, 0.4, 0.2, 0.1), solarise=0.1)
  config.projector = section(hidden=4096, output=256, layers=2, norm_output=False)
  config.predictor = section(hidden=4096, output=256, layers=2, norm_output=False)
  config.objective.loss_kind = 'byol'
  config.optim.update(
    weight_decay=1.5e-6, final_weight_decay=1.5e-6, ema_momentum=0.996, final_ema_momentum=1.0)
  return config


def supervised_mim(
  *, size: str, epochs: int, weight_decay: float, mim_weight: float = 1.0, augreg: bool = True
) -> ml_collections.ConfigDict:
  """Supervised + MIM on VQGAN tokens, ImageNet-1k, patches of 14 (Chen et al. 2023, section 4)."""
  config = imagenet(batch_size=4096, epochs=epochs)
  config.method = 'mim'
  config.views = section(
    size=224, crop_scale=(0.05, 1.0), flip=0.5, jitter=0.0, jitter_strength=(0.0, 0.0, 0.0, 0.0), grey=0.0, blur=0.0,
    solarise=0.0, mean=(0.5,) * 3, std=(0.5,) * 3, rand_layers=2 if augreg else 0, rand_magnitude=15.0)
  config.masking = section(ratio=0.2, supervised_ratio=0.0)
  config.encoder = vit(size, 14)
  rate = 0.1 if augreg else 0.0
  config.encoder.update({'drop_path': rate, 'dropout': rate})
  config.decoder = section(width=768, depth=1, heads=12)
  config.target = section(kind='tokens', size=256, weights='')
  config.tokenizer = vqgan_f16()
  config.regularisation = section(
    num_classes=1000, label_smoothing=0.0, mixup_alpha=0.5 if augreg else 0.0, cutmix_alpha=0.0, erase=0.0)
  config.objective = section(
    supervised_pooling='average', mim_pooling='average', mim_weight=mim_weight, masked_only=False)
  config.optim = section(
    optimizer_kind='adamw',
    warmup_learning_rate=0.0, learning_rate=1e-3, final_learning_rate=0.0,
    warmup_epochs=epochs_of(config, 10_000, 1_281_167), schedule_stretch=1.0, weight_decay=weight_decay,
    final_weight_decay=weight_decay, beta1=0.9, beta2=0.96, clip_norm=1.0, ema_momentum=0.0, final_ema_momentum=0.0,
    ema_schedule='linear')
  return config


def segmentation(*, batch_size: int, epochs: int) -> ml_collections.ConfigDict:
  """A linear layer on the patches of an encoder; what is empty here, maskrep evaluate takes from that encoder."""
  config = imagenet(batch_size=batch_size, epochs=epochs)
  config.method = 'segment'
  config.protocol = 'segmentation'
  config.learning_rates = ()  # to choose from; () is optim.learning_rate alone
  config.views = section(
    size=0, crop_scale=(0.25, 1.0), flip=0.5, jitter=0.8, jitter_strength=(0.4, 0.4, 0.4, 0.1), grey=0.0, blur=0.0,
    solarise=0.0, mean=(), std=())
  config.encoder_kind, config.encoder = '', section()
  config.objective = section(map_classes=0, trained='head', sigma=0.0)
  config.optim = section(
    optimizer_kind='adamw',
    warmup_learning_rate=0.0, learning_rate=1e-3, final_learning_rate=0.0, warmup_epochs=0.0, schedule_stretch=1.0,
    weight_decay=0.0, final_weight_decay=0.0, beta1=0.9, beta2=0.999, clip_norm=0.0, ema_momentum=0.0,
    final_ema_momentum=0.0, ema_schedule='linear')
  return config


def in21k(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """The same on a folder of ImageNet-21k."""
  config.data.update(source='folder:imagenet21k', eval_split='')
  config.regularisation.num_classes = 21_841
  config.optim.warmup_epochs = epochs_of(config, 10_000, 14_197_122)
  return config


def epochs_of(config: ml_collections.ConfigDict, steps: int, examples: int):
  """So many steps of the config's batch, whatever it is set to, in epochs of so many examples."""
  return config.get_ref('batch_size').to_float() * (steps / examples)


def vqgan_f16() -> ml_collections.ConfigDict:
  """The tokenizer that was published as vqgan_imagenet_f16_1024 (Esser et al. 2021): 256 pixels to 16x16 tokens."""
  return section(
    channels=128, multipliers=(1, 1, 2, 2, 4), encoder_blocks=2, decoder_blocks=3, embedding=256, codebook_size=1024,
    input_range=(-1.0, 1.0), design='taming', attention_levels=(4,), groups=32)


def vqgan_digits() -> ml_collections.ConfigDict:
  """A small one: 16 pixels to 4x4 tokens."""
  return section(
    channels=8, multipliers=(1, 2, 4), encoder_blocks=1, decoder_blocks=1, embedding=16, codebook_size=64,
    input_range=(0.0, 1.0), design='maskgit', attention_levels=(), groups=4)


def vqgan() -> ml_collections.ConfigDict:
  """Training that tokenizer on ImageNet-1k (Esser et al. 2021)."""
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


def classify(
  *, protocol: str, trained: str, batch_size: int, epochs: float, learning_rate: float, optimizer_kind: str,
  warmup_epochs: float = 0.0, weight_decay: float = 0.0, input_norm: str = 'none', layer_decay: float = 1.0,
) -> ml_collections.ConfigDict:
  """An encoder's run under a classifier, for python -m maskrep evaluate, on ImageNet-1k.

  `learning_rate` is for 256 images. What belongs to the encoder is left empty and taken from it: its kind and sizes,
  mean and deviation of its images, its high-pass filter; so is the number of classes, from the data. A size or
  a crop fraction of 0, and an empty pooling, are what the encoder was trained with.
  """
  config = imagenet(batch_size=batch_size, epochs=epochs)
  config.method = 'classify'
  config.protocol = protocol
  config.learning_rates = ()  # to choose from; () is optim.learning_rate alone
  config.views = section(
    size=224, crop_scale=(0.08, 1.0), flip=0.5, jitter=0.0, jitter_strength=(0.0, 0.0, 0.0, 0.0), grey=0.0, blur=0.0,
    solarise=0.0, mean=(), std=(), rand_layers=0, rand_magnitude=0.0, rand_deviation=0.0)
  config.encoder_kind = ''
  config.encoder = section()
  config.regularisation = section(
    num_classes=0, label_smoothing=0.0, mixup_alpha=0.0, cutmix_alpha=0.0, erase=0.0)
  config.objective = section(
    trained=trained, pooling='', layers=1, input_norm=input_norm, layer_decay=layer_decay, sigma=0.0)
  per_image = config.get_ref('batch_size').to_float() / 256
  config.optim = section(
    optimizer_kind=optimizer_kind,
    warmup_learning_rate=0.0, learning_rate=per_image * learning_rate, final_learning_rate=0.0,
    warmup_epochs=warmup_epochs, schedule_stretch=1.0, weight_decay=weight_decay, final_weight_decay=weight_decay,
    beta1=0.9, beta2=0.999, clip_norm=0.0, ema_momentum=0.0, final_ema_momentum=0.0, ema_schedule='linear')
  config.eval.update(max_train_examples=10_000, labels_per_class=())
  return config


def finetune(*, batch_size: int, epochs: float, learning_rate: float, layer_decay: float, **changes):
  """Fine-tuning a Transformer as in BEiT and MAE (arXiv:2111.06377, appendix A.1), whose settings others took over.

  Their RandAugment, timm's rand-m9-mstd0.5, applies each of its two operations with a probability of one half; ours is
  the paper's, which applies both.
  """
  settings = dict(
    protocol='finetune', trained='all', optimizer_kind='adamw', warmup_epochs=5.0, weight_decay=0.05) | changes
  config = classify(
    batch_size=batch_size, epochs=epochs, learning_rate=learning_rate, layer_decay=layer_decay, **settings)
  config.views.update(rand_layers=2, rand_magnitude=9.0, rand_deviation=0.5)
  config.regularisation.update(label_smoothing=0.1, mixup_alpha=0.8, cutmix_alpha=1.0)
  config.encoder = section(drop_path=0.1, remat=False, scan=False)
  return config


def on_own_data(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """The same on what the encoder was trained on, as it saw them, with views that suit small data sets of any kind."""
  config.data.source = ''
  config.eval.crop_fraction = 0.0  # the encoder's
  config.views.update(size=0, crop_scale=(0.7, 1.0), flip=0.0)
  config.train.checkpoint_every_steps = 500
  config.eval.every_steps = 1000
  return config
