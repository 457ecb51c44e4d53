"""MSN on the 1797 handwritten digits that ship inside scikit-learn: no download, two minutes on two CPU cores.

Not in the paper: it shows in minutes that masked pre-training beats raw pixels where labels are few.

  python main.py --config=configs/msn_digits.py --workdir=runs/msn_digits
"""

from configs import common


def get_config():
  config = common.msn(size='Ti', patch_size=4, ratio=0.3, epochs=100)
  config.batch_size = 128
  config.data.update(source='digits', eval_split='test', canvas=8, threads=1)
  config.views.update(
    size=16, focal_size=8, num_focal=4, focal_crop_scale=(0.1, 0.4), flip=0.0, jitter=0.0, grey=0.0, blur=0.0,
    mean=(0.5,) * 3, std=(0.5,) * 3)
  config.encoder.update(width=96, depth=4, heads=4)
  config.head.update(hidden=256, output=64)
  config.objective.update(num_prototypes=64)
  config.optim.update(warmup_epochs=10.0, schedule_stretch=1.0, warmup_learning_rate=2e-4, learning_rate=1e-3)
  config.train.update(log_every_steps=20, checkpoint_every_steps=500)
  config.eval.update(every_steps=500, crop_fraction=1.0, baselines=('pixels', 'untrained'))
  return config
