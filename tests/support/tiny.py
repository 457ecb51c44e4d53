"""Any shipped config, made small enough to train in a test, on the digits."""

import copy
from pathlib import Path

from ml_collections import ConfigDict

from configs.base.vqgan import vqgan_digits
from maskrep.experiment import probe
from maskrep.weights.pretrained import IMAGENET, Pretrained

VIT = {'patch_size': 16, 'width': 384, 'depth': 12, 'heads': 6, 'mlp_ratio': 4.0, 'image_size': 224}
ENCODERS = {
  'vit': VIT, 'resnet': {'depth': 50, 'width': 1.0, 'stem': 'imagenet'},
  'cait': VIT | {'class_depth': 2, 'instance': 'class_attention', 'layer_scale': 0.1, 'positions': 'sincos',
                 'trunk_scale': 0.0, 'talking_heads': False}}


def completed(config: ConfigDict, kind: str = 'vit') -> ConfigDict:
  """A config of `configs/evaluation` that trains, with what `maskrep evaluate` fills in: of an encoder for ImageNet."""
  how = IMAGENET | ({'high_pass_sigma': 5.0} if kind == 'resnet' else {})
  config = copy.deepcopy(config)
  if 'regularisation' in config:
    config.regularisation.num_classes = 1000
  data = ConfigDict({**config.data, 'source': config.data.source or 'tfds:imagenet2012'})
  found, *_ = probe.configs(config, Path(), Pretrained(
    kind=kind, config=ENCODERS[kind], arrays={}, preprocessing=how, source={}), data)
  found.train.init_from = ''
  return found


def shrink(config: ConfigDict, *, steps: int = 4) -> ConfigDict:
  """The same experiment with a tiny encoder, 8 images a step and `steps` steps."""
  config = copy.deepcopy(config)
  config.batch_size = 8
  convolutional = config.method == 'mscn' or (config.method == 'classify' and config.encoder.kind == 'resnet')
  config.data.update(source='digits', train_split='train', eval_split='test', canvas=8, threads=1)
  examples = 1438
  if config.method == 'segment':
    examples = 1000
    config.data.update(source='digit_scenes', canvas=32)
    config.objective.map_classes = 11
    config.views.size = 16
    config.encoder.update(patch_size=4, width=16, depth=2, heads=2)
  elif config.method == 'vqgan':
    config.views.size = 16
    config.discriminator.update(width=8, layers=2, groups=4)
  elif convolutional:
    config.views.size = 16
    config.encoder.update(depth=18, width=1 / 16, stem='small')
  else:
    patch = config.encoder.patch_size
    config.views.size = 4 * patch
    config.encoder.update(width=16, depth=2, heads=2)
  if config.method == 'mscn':
    config.first_mask.cell = config.second_mask.cell = 4
  if config.method == 'msn':
    config.views.update(focal_size=2 * patch, num_focal=min(2, config.views.num_focal))
    config.objective.num_prototypes = 12
  if config.method == 'extrema':
    config.masking.update(ratio=0.75, count=min(3, config.masking.count))
  if config.method == 'mim':
    config.decoder.update(width=16, heads=2)
    config.target.size = 16
  if 'regularisation' in config:
    config.regularisation.num_classes = 10
  if 'tokenizer' in config:
    config.tokenizer = vqgan_digits()
    config.tokenizer.update(embedding=8, codebook_size=16)
  for head in {'head', 'projector', 'predictor'}.intersection(config.keys()):
    config[head].update(hidden=16, output=8)
  # Fast enough that a few steps move the weights and the teacher by more than round-off.
  config.optim.update(warmup_epochs=2 * 8 / examples, warmup_learning_rate=1e-2, learning_rate=1e-2)
  if not convolutional or (config.method == 'mscn' and config.objective.loss_kind == 'byol'):
    config.optim.ema_momentum = 0.9
  config.train.update(epochs=steps * 8 / examples, log_every_steps=1, checkpoint_every_steps=2)
  config.eval.update(every_steps=1000, batch_size=8, max_train_examples=64, knn_neighbours=5, label_draws=1,
                     labels_per_class=(1,) if config.eval.labels_per_class else (), baselines=())
  return config

