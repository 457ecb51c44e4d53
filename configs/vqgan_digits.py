"""A tokenizer for the 1797 handwritten digits that ship inside scikit-learn: 4x4 tokens of 64 codes, a minute or two.

Not in the paper. configs/mim_digits.py needs its weights.

  python main.py --config=configs/vqgan_digits.py --workdir=runs/vqgan_digits
"""

from configs import common


def get_config():
  config = common.vqgan()
  config.batch_size = 64
  config.data.update(source='digits', eval_split='test', canvas=8, threads=1)
  config.views.update(size=16, crop_scale=(0.8, 1.0), flip=0.0)
  config.tokenizer.update(
    channels=16, multipliers=(1, 2, 2), encoder_blocks=1, decoder_blocks=1, embedding=16, codebook_size=64,
    attention_levels=(), groups=8)
  config.objective.update(reconstruction_kind='l2', entropy_weight=0.01, entropy_temperature=0.1,
                          discriminator_weight=0.0)
  config.discriminator.update(width=16, layers=2, groups=8)
  config.optim.update(
    learning_rate=2e-3, warmup_epochs=1.0, weight_decay=0.0, final_weight_decay=0.0, beta1=0.9, ema_momentum=0.99,
    final_ema_momentum=0.99)
  config.train.update(epochs=30.0, log_every_steps=50, checkpoint_every_steps=500)
  config.eval.update(every_steps=500, batch_size=256, crop_fraction=1.0)
  return config
