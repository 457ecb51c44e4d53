"""Any shipped config, made small enough to train in a test, on the digits."""

import copy
from pathlib import Path

from ml_collections import ConfigDict

from maskrep.experiment import probe
from maskrep.experiment.experiment import method_module
from maskrep.models.encoder import Preprocessing
from maskrep.weights.pretrained import IMAGENET, Pretrained

VIT = {'patch_size': 16, 'width': 384, 'depth': 12, 'heads': 6, 'mlp_ratio': 4.0, 'image_size': 224}
ENCODERS = {
  'vit': VIT, 'resnet': {'depth': 50, 'width': 1.0, 'stem': 'imagenet'},
  'cait': VIT | {'class_depth': 2, 'instance': 'class_attention', 'layer_scale': 0.1, 'positions': 'sincos',
                 'trunk_scale': 0.0, 'talking_heads': False}}
EXAMPLES = {'digits': 1438, 'digit_scenes': 1000}  # of the training splits


def completed(config: ConfigDict, kind: str = 'vit') -> ConfigDict:
  """A config of `configs/evaluation` that trains, with what `maskrep evaluate` fills in: of an encoder for ImageNet."""
  preprocessing = Preprocessing(**vars(IMAGENET) | ({'high_pass_sigma': 5.0} if kind == 'resnet' else {}))
  config = copy.deepcopy(config).to_dict()
  if 'regularisation' in config:
    config['regularisation']['num_classes'] = 1000
  data = config['data'] | {'source': config['data']['source'] or 'tfds:imagenet2012'}
  found, *_ = probe.experiments(config, Path(), Pretrained(
    kind=kind, config=ENCODERS[kind], arrays={}, preprocessing=preprocessing, source={}), data)
  found.config['train']['init_from'] = ''
  return ConfigDict(found.config)


def shrink(config: ConfigDict, *, steps: int = 4) -> ConfigDict:
  """The same experiment with a tiny network, 8 images per step and `steps` steps."""
  config = copy.deepcopy(config)
  config.batch_size = 8
  config.data.update(source='digits', train_split='train', eval_split='test', canvas=8, threads=1)
  # Fast enough that a few steps move the weights and the teacher by more than round-off.
  config.optim.update(warmup_learning_rate=1e-2, learning_rate=1e-2, ema_momentum=0.9)
  method_module(config.method).tiny(config)
  examples = EXAMPLES[config.data.source]
  config.optim.warmup_epochs = min(2, steps) * 8 / examples
  config.train.update(epochs=steps * 8 / examples, log_every_steps=1, checkpoint_every_steps=2)
  config.eval.update(every_steps=1000, batch_size=8, max_train_examples=64, baselines=())
  config.eval.knn.neighbours = (5,)
  config.eval.lowshot.update(labels_per_class=(1,), draws=1)
  return config
