"""A tokenizer for the 1797 handwritten digits that ship inside scikit-learn: 4x4 tokens of 64 codes, a minute or two.

Not in the paper. configs/mim_digits.py needs the weights that it trains.

  python main.py --config=configs/vqgan_digits.py --workdir=runs/vqgan_digits
"""

from maskrep.configs.base.sections import share_of_run
from maskrep.configs.base.vqgan import vqgan, vqgan_digits


def get_config():
  config = vqgan()
  config.batch_size = 32
  config.data.update(source='digits', eval_split='test', canvas=8, threads=1)
  config.views.update(size=16, crop_scale=(0.6, 1.0), flip=0.0)
  config.tokenizer = vqgan_digits()
  config.discriminator.update(width=16, layers=2, groups=8)
  config.objective.update(
    reconstruction_kind='l2', entropy_weight=0.001, entropy_temperature=0.05, discriminator_weight=0.0)
  config.optim.update(
    warmup_learning_rate=4e-4, learning_rate=4e-3, warmup_epochs=share_of_run(config, 1 / 16), beta1=0.9, beta2=0.95,
    ema_momentum=0.99, final_ema_momentum=0.99)
  config.train.update(epochs=16.0, log_every_steps=50, checkpoint_every_steps=500)
  config.eval.update(every_steps=500, batch_size=256, crop_fraction=1.0)
  return config
