"""The experiment of patch_colours.py: 30 steps on the digits.

  python main.py --config=outside/digits.py --workdir=runs/patch_colours
"""

from ml_collections import ConfigDict


def get_config():
  config = ConfigDict({'method': 'outside.patch_colours', 'seed': 0, 'batch_size': 16, 'compute_dtype': 'auto'})
  config.data = ConfigDict(dict(
    source='digits', train_split='train', eval_split='test', download=False, canvas=8, threads=1,
    max_broken_fraction=0.0, stall_timeout_s=60))
  config.views = ConfigDict(dict(
    size=16, crop_scale=(0.7, 1.0), flip=0.0, jitter=0.0, jitter_strength=(0.0,) * 4, grey=0.0, blur=0.0, solarise=0.0,
    mean=(0.3,) * 3, std=(0.38,) * 3))
  config.masking = ConfigDict(dict(ratio=0.75))
  config.encoder = ConfigDict(dict(
    kind='vit', patch_size=4, width=32, depth=1, heads=2, mlp_ratio=2.0, drop_path=0.0, weight_init='fan_in'))
  config.objective = ConfigDict(dict(dropped_only=True))
  config.optim = ConfigDict(dict(
    optimizer_kind='adamw', warmup_learning_rate=0.0, learning_rate=3e-3, final_learning_rate=0.0, warmup_epochs=0.05,
    schedule_stretch=1.0, weight_decay=0.01, final_weight_decay=0.01, beta1=0.9, beta2=0.95, clip_norm=0.0,
    ema_momentum=0.9, final_ema_momentum=0.9, ema_schedule='linear'))
  config.train = ConfigDict(dict(
    epochs=30 * 16 / 1438, init_from='', freeze_encoder_steps=0, microbatch=0, fsdp=1, log_every_steps=1,
    checkpoint_every_steps=10, keep_checkpoints=3))
  config.eval = ConfigDict(dict(
    every_steps=20, batch_size=16, crop_fraction=1.0, max_train_examples=128, baselines=(),
    protocols=('collapse', 'knn'), knn=ConfigDict(dict(neighbours=(5,), temperature=0.07))))
  return config
