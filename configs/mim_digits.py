"""Supervised + MIM on the 1797 handwritten digits that ship inside scikit-learn: no download, minutes on two CPU cores.

Not in the paper. Train the tokenizer first, then the encoder. The baseline without MIM:
--config.objective.mim_weight=0.0.

  python main.py --config=configs/vqgan_digits.py --workdir=runs/vqgan_digits
  python main.py --config=configs/mim_digits.py --workdir=runs/mim_digits
"""

from maskrep.configs.base.mim import supervised_mim
from maskrep.configs.base.sections import share_of_run
from maskrep.configs.base.vqgan import vqgan_digits


def get_config():
  config = supervised_mim(size='Ti', epochs=30, augreg=False)
  config.batch_size = 64
  config.data.update(source='digits', eval_split='test', canvas=8, threads=1)
  config.views.update(size=16, crop_scale=(0.7, 1.0), flip=0.0, mean=(0.3,) * 3, std=(0.38,) * 3)
  config.encoder.update(patch_size=4, width=96, depth=2, heads=4, weight_init='fan_in', class_token=True)
  config.decoder.update(width=96, heads=4)
  config.target.update(size=16, weights='runs/vqgan_digits')
  config.tokenizer = vqgan_digits()
  config.regularisation.num_classes = 10
  config.optim.update(warmup_learning_rate=2e-4, learning_rate=2e-3, beta2=0.95)
  config.optim.warmup_epochs = share_of_run(config, 3 / 30)
  config.train.update(log_every_steps=50, checkpoint_every_steps=500)
  config.eval.update(every_steps=500, batch_size=256, crop_fraction=1.0, baselines=('pixels', 'untrained'))
  return config
