"""Parts shared by the configs of all families: the sizes of a ViT, sections, and training on ImageNet-1k."""

import ml_collections

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# Width, depth, heads: Touvron et al. 2021 (Ti, S), Dosovitskiy et al. 2021 (B, L, H).
VIT_SIZES = {'Ti': (192, 12, 3), 'S': (384, 12, 6), 'B': (768, 12, 12), 'L': (1024, 24, 16), 'H': (1280, 32, 16)}


def section(**fields) -> ml_collections.ConfigDict:
  return ml_collections.ConfigDict(fields)


def vit(size: str, patch_size: int) -> ml_collections.ConfigDict:
  """The section of an encoder: a ViT of one of `VIT_SIZES`."""
  width, depth, heads = VIT_SIZES[size]
  return section(
    kind='vit', patch_size=patch_size, width=width, depth=depth, heads=heads, mlp_ratio=4.0, drop_path=0.0,
    weight_init='normal', remat=False, scan=False)


def imagenet_data() -> ml_collections.ConfigDict:
  """The data section: ImageNet-1k, as tfds prepares it."""
  return section(
    source='tfds:imagenet2012', train_split='train', eval_split='validation', download=False, canvas=512, threads=16,
    max_broken_fraction=0.001, stall_timeout_s=600)


def imagenet(*, batch_size: int, epochs: float) -> ml_collections.ConfigDict:
  """Training on ImageNet-1k: the fields and sections that do not depend on the method."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.batch_size = batch_size
  config.compute_dtype = 'auto'
  config.data = imagenet_data()
  config.train = section(
    epochs=float(epochs), init_from='', freeze_encoder_steps=0, microbatch=0, fsdp=1, log_every_steps=50,
    checkpoint_every_steps=1000, keep_checkpoints=3)
  config.eval = section(
    every_steps=12510, batch_size=512, crop_fraction=0.875, max_train_examples=100_000, baselines=(),
    protocols=('collapse', 'knn', 'lowshot'), knn=section(neighbours=(20,), temperature=0.07), lowshot=low_shot(),
    logistic=logistic())
  return config


def low_shot() -> ml_collections.ConfigDict:
  """The section of logistic regression on 1, 2 and 5 labels per class."""
  return section(labels_per_class=(1, 2, 5), fractions=(), lists=(), draws=3, l2=(0.1,), folds=0)


def logistic() -> ml_collections.ConfigDict:
  """The section of logistic regression on all labels."""
  return section(l2=(0.01, 0.1, 1.0, 10.0), folds=5)


def epochs_of(config: ml_collections.ConfigDict, steps: int, examples: int):
  """Returns the number of epochs of `examples` images that equals `steps` steps.

  It is a reference: it changes with `config.batch_size`.
  """
  return config.get_ref('batch_size').to_float() * (steps / examples)


def share_of_run(config: ml_collections.ConfigDict, share: float):
  """Returns a share of the epochs of a run.

  It is a reference: it changes with `config.train.epochs`.
  """
  return config.train.get_ref('epochs') * share
