"""Training semantic segmentation on an encoder."""

import ml_collections

from maskrep.configs.base.sections import epochs_of, imagenet, section


def segmentation(*, batch_size: int, epochs: int) -> ml_collections.ConfigDict:
  """A linear layer on the patches of the encoder of a run; with a section `upernet`, UperNet on its blocks.

  The evaluation fills in what the encoder determines: its kind and sizes, the mean, deviation and high-pass filter of
  its images, and the size of the views if that is 0.
  """
  config = imagenet(batch_size=batch_size, epochs=epochs)
  config.method = 'segment'
  config.protocol = 'segmentation'
  config.learning_rates = ()  # candidates; () means optim.learning_rate alone
  config.seeds = ()  # candidates; () means seed alone
  config.views = section(
    size=0, crop_scale=(0.25, 1.0), flip=0.5, jitter=0.8, jitter_strength=(0.4, 0.4, 0.4, 0.1), grey=0.0, blur=0.0,
    solarise=0.0, mean=(), std=(), high_pass_sigma=0.0, scale_jitter=(0.0, 0.0))
  config.encoder = section()
  config.objective = section(map_classes=0, trained='head', layer_decay=1.0, stride=0)
  config.optim = section(
    optimizer_kind='adamw',
    warmup_learning_rate=0.0, learning_rate=1e-3, final_learning_rate=0.0, warmup_epochs=0.0, schedule_stretch=1.0,
    weight_decay=0.0, final_weight_decay=0.0, beta1=0.9, beta2=0.999, clip_norm=0.0, ema_momentum=0.0,
    final_ema_momentum=0.0, ema_schedule='linear')
  return config


def linear_decoder_448(
  source: str, *, train_split: str, eval_split: str, examples: int, epochs: float, classes: int, canvas: int
) -> ml_collections.ConfigDict:
  """Chen et al. 2023, section 4.4: encoder and linear decoder at 448 pixels, seven learning rates with three seeds."""
  config = segmentation(batch_size=16, epochs=epochs)
  config.data.update(source=source, train_split=train_split, eval_split=eval_split, canvas=canvas, threads=16)
  config.views.update(size=448, crop_scale=(0.25, 1.0), flip=0.5, jitter=0.8)
  config.objective.update(map_classes=classes, trained='all')
  config.learning_rates = 5e-4, 3e-4, 1e-4, 7e-5, 5e-3, 3e-5, 1e-5
  config.seeds = 0, 1, 2
  config.encoder.resampling = 'bilinear'
  config.optim.update(
    learning_rate=1e-4, warmup_epochs=epochs_of(config, 1500, examples), weight_decay=0.01, final_weight_decay=0.01)
  config.train.update(log_every_steps=50, checkpoint_every_steps=2000)
  config.eval.update(every_steps=20_000, batch_size=16, max_train_examples=2000)
  return config
