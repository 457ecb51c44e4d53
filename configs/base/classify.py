"""Training a classifier on an encoder: linear probes, partial and full fine-tuning."""

import ml_collections

from maskrep.configs.base.sections import imagenet, section


def classify(
  *, protocol: str, trained: str, batch_size: int, epochs: float, learning_rate: float, optimizer_kind: str,
  warmup_epochs: float = 0.0, weight_decay: float = 0.0, input_norm: str = 'none', layer_decay: float = 1.0,
) -> ml_collections.ConfigDict:
  """A classifier on the encoder of a run, trained on ImageNet-1k by maskrep evaluate.

  `learning_rate` is for 256 images. The evaluation fills in what the encoder determines: its kind and sizes, the mean,
  deviation and high-pass filter of its images, and, if they are 0 or empty, the size of the views, the crop fraction
  and the pooling that it was trained with. It takes the number of classes from the data.
  """
  config = imagenet(batch_size=batch_size, epochs=epochs)
  config.method = 'classify'
  config.protocol = protocol
  config.learning_rates = ()  # candidates; () means optim.learning_rate alone
  config.seeds = ()  # candidates; () means seed alone
  config.lists = ()  # files of names of training images, or patterns of such files; () means all images
  config.views = section(
    size=224, crop_scale=(0.08, 1.0), flip=0.5, jitter=0.0, jitter_strength=(0.0, 0.0, 0.0, 0.0), grey=0.0, blur=0.0,
    solarise=0.0, mean=(), std=(), rand_layers=0, rand_operations='increasing', rand_magnitude=0.0,
    rand_deviation=0.0, high_pass_sigma=0.0)
  config.encoder = section()
  config.regularisation = section(
    num_classes=0, label_smoothing=0.0, mixup_alpha=0.0, cutmix_alpha=0.0, erase=0.0)
  config.objective = section(
    trained=trained, pooling='', layers=1, input_norm=input_norm, layer_decay=layer_decay)
  per_image = config.get_ref('batch_size').to_float() / 256
  config.optim = section(
    optimizer_kind=optimizer_kind,
    warmup_learning_rate=0.0, learning_rate=per_image * learning_rate, final_learning_rate=0.0,
    warmup_epochs=warmup_epochs, schedule_stretch=1.0, weight_decay=weight_decay, final_weight_decay=weight_decay,
    beta1=0.9, beta2=0.999, clip_norm=0.0, ema_momentum=0.0, final_ema_momentum=0.0, ema_schedule='linear')
  config.eval.update(max_train_examples=10_000, protocols=('collapse', 'knn'))
  return config


def finetune(*, batch_size: int, epochs: float, learning_rate: float, layer_decay: float, **changes):
  """Fine-tuning a Transformer as in BEiT and MAE (arXiv:2111.06377, appendix A.1), whose settings other papers adopted.

  Their RandAugment is timm's rand-m9-mstd0.5-inc1: two operations of its `increasing` set, each applied with a
  probability of one half.
  """
  settings = dict(
    protocol='finetune', trained='all', optimizer_kind='adamw', warmup_epochs=5.0, weight_decay=0.05) | changes
  config = classify(
    batch_size=batch_size, epochs=epochs, learning_rate=learning_rate, layer_decay=layer_decay, **settings)
  config.views.update(rand_layers=2, rand_magnitude=9.0, rand_deviation=0.5)
  config.regularisation.update(label_smoothing=0.1, mixup_alpha=0.8, cutmix_alpha=1.0)
  config.encoder = section(drop_path=0.1, remat=False, scan=False)
  return config


def on_own_data(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Returns `config`, changed to the data and the image size of the encoder's own training.

  The views suit small data sets of any kind: large crops and no flips.
  """
  config.data.source = ''
  config.eval.crop_fraction = 0.0  # the encoder's
  config.views.update(size=0, crop_scale=(0.7, 1.0), flip=0.0)
  config.train.checkpoint_every_steps = 500
  config.eval.every_steps = 1000
  return config
