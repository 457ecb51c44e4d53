"""MSN on the 1797 handwritten digits that ship inside scikit-learn: no download, under two minutes on two CPU cores.

Not in the paper. It beats raw pixels and the untrained encoder with 1, 2 and 5 labels per class; see docs/msn.md.

  python main.py --config=configs/msn_digits.py --workdir=runs/msn_digits
"""

from maskrep.configs.base.msn import msn
from maskrep.configs.base.sections import share_of_run


def get_config():
  config = msn(size='Ti', patch_size=4, ratio=0.3, epochs=50)
  config.batch_size = 64
  config.data.update(source='digits', eval_split='test', canvas=8, threads=1)
  config.views.update(
    size=12, focal_size=8, num_focal=3, crop_scale=(0.7, 1.0), focal_crop_scale=(0.4, 0.8), flip=0.0, jitter=0.0,
    grey=0.0, blur=0.0, mean=(0.3,) * 3, std=(0.38,) * 3)
  config.encoder.update(width=96, depth=2, heads=4, weight_init='fan_in')
  config.head.update(hidden=256, output=64)
  config.objective.update(num_prototypes=32)
  config.optim.update(
    warmup_learning_rate=2e-4, learning_rate=2e-3, warmup_epochs=share_of_run(config, 3 / 50), schedule_stretch=1.0,
    final_weight_decay=0.04,
    beta2=0.95, ema_momentum=0.97)
  config.train.update(log_every_steps=50, checkpoint_every_steps=500)
  config.eval.update(every_steps=500, batch_size=256, crop_fraction=1.0, baselines=('pixels', 'untrained'))
  return config
