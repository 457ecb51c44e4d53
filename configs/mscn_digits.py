"""MSCN on the 1797 handwritten digits that ship inside scikit-learn: no download, minutes on two CPU cores.

Not in the paper. The loss is InfoNCE, because BYOL learns little here within minutes. It beats raw pixels and
the untrained encoder with 1, 2 and 5 labels per class; see docs/mscn.md.

  python main.py --config=configs/mscn_digits.py --workdir=runs/mscn_digits
"""

from maskrep.configs.base.mscn import mscn
from maskrep.configs.base.sections import share_of_run


def get_config():
  config = mscn(epochs=30)
  config.batch_size = 64
  config.data.update(source='digits', eval_split='test', canvas=8, threads=1)
  config.views.update(
    size=16, crop_scale=(0.7, 1.0), flip=0.0, jitter=0.0, grey=0.0, blur=0.0, mean=(0.3,) * 3, std=(0.38,) * 3,
    high_pass_sigma=2.0)
  config.first_mask.cell = config.second_mask.cell = 4
  config.encoder.update(depth=18, width=0.125, stem='small', zero_init_residual=False)
  config.projector.update(hidden=256, output=64, layers=3)  # the paper's projector has two
  config.optim.update(
    optimizer_kind='adamw', learning_rate=2e-3, warmup_epochs=share_of_run(config, 4 / 30), weight_decay=1e-2,
    final_weight_decay=1e-2)
  config.train.update(log_every_steps=50, checkpoint_every_steps=500)
  config.eval.update(every_steps=300, batch_size=256, crop_fraction=1.0, baselines=('pixels', 'untrained'))
  return config
