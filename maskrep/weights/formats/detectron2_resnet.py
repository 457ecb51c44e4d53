"""detectron2's pickle of a ResNet, as its own `convert-torchvision-to-d2.py` makes it; written only.

Load it with `MODEL.WEIGHTS`, `MODEL.RESNETS.STRIDE_IN_1X1=False`, `INPUT.FORMAT="RGB"` and the mean and deviation of
the run, times 255, as `MODEL.PIXEL_MEAN` and `MODEL.PIXEL_STD`. C4 and FPN take what is theirs of it.
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
  """Names nothing but numpy.ndarray: what NumPy 2 would name, NumPy 1 does not have, with which detectron2 may run."""

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
    raise ConfigError(f'--format=detectron2: its ResNets have the imagenet stem, and this one the '
                      f'{pretrained.config["stem"]} one; choose --format=torchvision')
  content = io.BytesIO()
  _Pickler(content, protocol=4).dump({'model': state, '__author__': 'maskrep', 'matching_heuristics': True})
  write_atomic(path, content.getbuffer())
  return path


def peer(state, config, side):
  """detectron2 is in no package index; torchvision's ResNet has the same layers."""
  name, forward = torchvision_resnet.running(state, config, renamed)
  return f'{name} in the place of detectron2', forward


def renamed(name: str) -> str:
  """torchvision's name of an array -> detectron2's."""
  name = name if name.startswith('layer') else f'stem.{name}'
  name = re.sub(r'^layer(\d)', lambda stage: f'res{int(stage[1]) + 1}', name)
  name = re.sub(r'bn(\d)', r'conv\1.norm', name)
  return name.replace('downsample.0', 'shortcut').replace('downsample.1', 'shortcut.norm')
