"""Small data: settings shared by the `:small` and `:tiny` variants of the folder configs. See docs/small_data.md."""

import ml_collections

from maskrep.configs.base.sections import section, share_of_run

SIZES = {'small': 64, 'tiny': 32}  # variant -> side of a view in pixels
VARIANTS = '', *SIZES


def check_variant(name: str, variant: str) -> None:
  """Raises ValueError if a folder config has no such variant."""
  if variant not in VARIANTS:
    raise ValueError(f'{name}:{variant}: the variants are {", ".join(SIZES)}, or none')


def on_folder(config: ml_collections.ConfigDict, *, warmup: float) -> ml_collections.ConfigDict:
  """Returns `config`, changed to train on a folder on one GPU; `warmup` is the share of the run used for warm-up."""
  config.batch_size = 256
  config.data.update(source='folder:images', eval_split='')
  config.optim.warmup_epochs = share_of_run(config, warmup)
  config.eval.update(every_steps=1000, max_train_examples=10_000)
  return config


def on_two_cores(config: ml_collections.ConfigDict, *, size: int) -> ml_collections.ConfigDict:
  """Returns `config`, changed to train in minutes on two cores, on views of `size` pixels.

  The papers' EMA momentum is for long runs: over N steps from m to 1, the evaluated weights keep a share of
  exp(-(1 - m) N / 2) of the untrained ones, 16 % at 0.99 and 360 steps.
  """
  config = on_folder(config, warmup=0.1)
  config.batch_size = 64
  config.data.update(canvas=size, threads=2)
  config.views.size = size
  config.optim.update(
    warmup_learning_rate=2e-4, learning_rate=2e-3, beta2=0.95, ema_momentum=0.97, final_ema_momentum=0.99)
  config.train.update(log_every_steps=20, checkpoint_every_steps=200)
  config.eval.update(every_steps=200, batch_size=256, crop_fraction=1.0, baselines=('pixels', 'untrained'))
  config.eval.lowshot.draws = 10
  return config


def small_vit(size: int) -> ml_collections.ConfigDict:
  """The section of a ViT of 16 patches, whatever the size of the view: four times the epochs of 64 in equal time."""
  return section(
    kind='vit', patch_size=size // 4, width=128, depth=3, heads=4, mlp_ratio=4.0, drop_path=0.0, weight_init='fan_in',
    remat=False, scan=False)
