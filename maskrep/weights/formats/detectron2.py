"""detectron2's pickle of a backbone; export only. `launch/detectron2` has configs that load it with `MODEL.WEIGHTS`.

A ResNet has the names that detectron2's own `convert-torchvision-to-d2.py` writes, and detectron2 looks for them at the
ends of the model's names: C4 and FPN ignore what they do not use.

A ViT or CaiT has the complete names that a `ViT` in a `SimpleFeaturePyramid` (ViTDet, arXiv:2203.16527) has in a
detector. This has no class token, class attention and final norm: detectron2 reports their arrays as not used.
"""

import io
import pickle
import re

import numpy as np

from maskrep.errors import ConfigError
from maskrep.weights import names
from maskrep.weights.formats import timm_cait, timm_vit, torchvision_resnet
from maskrep.weights.pretrained import encoder_only
from maskrep.workdir.files import write_atomic

KINDS = ('resnet', 'vit', 'cait')
SUFFIXES = ('.pkl',)
NET = 'backbone.net.'
read = from_foreign = None  # a pickle is never opened


class _Pickler(pickle.Pickler):
  """Refers only to numpy.ndarray: NumPy 1, with which detectron2 may run, lacks the names that NumPy 2 refers to."""

  def reducer_override(self, obj):
    if type(obj) is np.ndarray:
      return np.ndarray, (obj.shape, obj.dtype.str, bytearray(obj.tobytes()))
    return NotImplemented


def to_foreign(arrays, config):
  if 'stem' in config:
    state = torchvision_resnet.to_foreign(arrays, config)
    return {renamed(name): value for name, value in state.items()}
  return names.with_prefix(NET, _timm(config).to_foreign(arrays, config))


def write(path, state, pretrained, run):
  encoder_only('detectron2', run)
  config, resnet = pretrained.config, pretrained.kind == 'resnet'
  if resnet and config['stem'] != 'imagenet':
    raise ConfigError(f'--format=detectron2: its ResNets have the imagenet stem, this one has the '
                      f'{config["stem"]} stem; choose --format=torchvision')
  if config.get('trunk_scale') or config.get('talking_heads'):
    raise ConfigError('--format=detectron2: its ViT has neither LayerScale nor talking heads, and the trunk of this '
                      'CaiT has; choose --format=timm_cait')
  content = io.BytesIO()
  _Pickler(content, protocol=4).dump({'model': state, '__author__': 'maskrep', 'matching_heuristics': resnet})
  write_atomic(path, content.getbuffer())
  return path


def peer(state, config, side):
  """detectron2 is not in any package index; torchvision's ResNet and timm's ViT and CaiT have the same layers."""
  if 'stem' in config:
    torchvision_resnet.check_published(config)
    name, forward = torchvision_resnet.model(state, config, side, renamed).peer
  else:
    name, forward = _timm(config).peer(names.without(NET, state), config, side)
  return f'{name} in place of detectron2', forward


def renamed(name: str) -> str:
  """torchvision's name of an array -> detectron2's."""
  name = name if name.startswith('layer') else f'stem.{name}'
  name = re.sub(r'^layer(\d)', lambda stage: f'res{int(stage[1]) + 1}', name)
  name = re.sub(r'bn(\d)', r'conv\1.norm', name)
  return name.replace('downsample.0', 'shortcut').replace('downsample.1', 'shortcut.norm')


def _timm(config: dict):
  return timm_cait if 'class_depth' in config else timm_vit
