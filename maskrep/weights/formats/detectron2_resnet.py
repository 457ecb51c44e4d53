"""detectron2's pickle of a ResNet, as its own `convert-torchvision-to-d2.py` writes it; export only.

Load it with `MODEL.WEIGHTS`, `MODEL.RESNETS.STRIDE_IN_1X1=False`, `INPUT.FORMAT="RGB"` and the mean and standard
deviation of the run, times 255, as `MODEL.PIXEL_MEAN` and `MODEL.PIXEL_STD`. C4 and FPN ignore what they do not use.
"""

import io
import pickle
import re

import numpy as np

from maskrep.errors import ConfigError
from maskrep.weights.formats import torchvision_resnet
from maskrep.weights.pretrained import encoder_only
from maskrep.workdir.files import write_atomic

KINDS = ('resnet',)
SUFFIXES = ('.pkl',)
read = from_foreign = None  # a pickle is never opened


class _Pickler(pickle.Pickler):
  """Refers only to numpy.ndarray: NumPy 1, with which detectron2 may run, lacks the names that NumPy 2 refers to."""

  def reducer_override(self, obj):
    if type(obj) is np.ndarray:
      return np.ndarray, (obj.shape, obj.dtype.str, bytearray(obj.tobytes()))
    return NotImplemented


def to_foreign(arrays, config):
  state = torchvision_resnet.to_foreign(arrays, config)
  return {renamed(name): value for name, value in state.items()}


def write(path, state, pretrained, run):
  encoder_only('detectron2', run)
  if pretrained.config['stem'] != 'imagenet':
    raise ConfigError(f'--format=detectron2: its ResNets have the imagenet stem, this one has the '
                      f'{pretrained.config["stem"]} stem; choose --format=torchvision')
  content = io.BytesIO()
  _Pickler(content, protocol=4).dump({'model': state, '__author__': 'maskrep', 'matching_heuristics': True})
  write_atomic(path, content.getbuffer())
  return path


def peer(state, config, side):
  """detectron2 is not in any package index; torchvision's ResNet has the same layers."""
  torchvision_resnet.check_published(config)
  name, forward = torchvision_resnet.model(state, config, side, renamed).peer
  return f'{name} in place of detectron2', forward


def renamed(name: str) -> str:
  """torchvision's name of an array -> detectron2's."""
  name = name if name.startswith('layer') else f'stem.{name}'
  name = re.sub(r'^layer(\d)', lambda stage: f'res{int(stage[1]) + 1}', name)
  name = re.sub(r'bn(\d)', r'conv\1.norm', name)
  return name.replace('downsample.0', 'shortcut').replace('downsample.1', 'shortcut.norm')
