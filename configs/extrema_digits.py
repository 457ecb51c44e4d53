"""ExtreMA on the 1797 handwritten digits that ship inside scikit-learn: no download, minutes on two CPU cores.

Not in the paper, whose BYOL loss collapses on so few and small images: this run uses the paper's other loss, InfoNCE.
It beats raw pixels and the untrained encoder with 1, 2 and 5 labels per class; see docs/extrema.md.

  python main.py --config=configs/extrema_digits.py --workdir=runs/extrema_digits
"""

from maskrep.configs.base.extrema import extrema
from maskrep.configs.base.sections import share_of_run


def get_config():
  config = extrema(size='Ti', ratio=0.75, count=4, epochs=100, loss='infonce')
  config.batch_size = 64
  config.data.update(source='digits', eval_split='test', canvas=8, threads=1)
  config.views.update(
    size=16, crop_scale=(0.8, 1.0), flip=0.0, jitter=0.0, grey=0.0, mean=(0.3,) * 3, std=(0.38,) * 3, shared_crop=False)
  config.encoder.update(patch_size=4, width=96, depth=2, heads=4, drop_path=0.0, weight_init='fan_in')
  config.projector.update(hidden=256, output=64)
  config.predictor.update(hidden=256, output=64)
  config.optim.update(
    warmup_learning_rate=2e-4, learning_rate=2e-3, warmup_epochs=share_of_run(config, 5 / 100), weight_decay=0.04,
    final_weight_decay=0.04,
    ema_momentum=0.99)
  config.train.update(log_every_steps=50, checkpoint_every_steps=500)
  config.eval.update(every_steps=500, batch_size=256, crop_fraction=1.0, baselines=('pixels', 'untrained'))
  return config
