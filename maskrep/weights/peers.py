"""The other library's model: imports the library, converts arrays, and wraps its forward to our inputs and outputs."""

from collections.abc import Callable
import importlib
import importlib.util
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from maskrep.models.position import resampling_matrix, sincos
from maskrep.weights.names import Arrays

if TYPE_CHECKING:
  import torch

# The name of the model, and its forward: float32 images [B, H, W, 3] -> {'cls': [B, D], 'patches': [B, N, D]}.
Peer = tuple[str, Callable[[np.ndarray], dict[str, np.ndarray]]]

_KEPT = []  # operators live as long as the library that defined them


class PeerMissing(Exception):
  """The other library is not installed, or has no such model; the message gives the remedy."""


class TorchModel(NamedTuple):
  """A PyTorch model with the arrays of a network.

  Attributes:
    name: the library, its version and the class.
    layers: float32 images [B, 3, H, W] -> an output in its own form.
    split: that output -> {'cls': [B, D], 'patches': [B, N, D]}.
  """

  name: str
  layers: 'torch.nn.Module'
  split: Callable[['torch.Tensor'], dict[str, 'torch.Tensor']]

  @property
  def peer(self) -> Peer:
    return self.name, forward(self.layers, self.split)


def library(name: str, extra: str = 'test') -> ModuleType:
  """Imports a module of another library, which our extra `extra` installs.

  Raises:
    PeerMissing: it is not installed, or does not load.
  """
  try:
    if name != 'torch':
      _import_torchvision()
    return importlib.import_module(name)
  except (ImportError, RuntimeError) as error:
    reason = ' '.join(str(error).split())[:120]
    raise PeerMissing(f"{name} cannot be imported ({reason}); pip install -e '.[{extra}]'") from error


def tensors(state: Arrays) -> dict:
  """Arrays as float32 PyTorch tensors."""
  torch = library('torch')
  return {name: torch.from_numpy(np.array(value, np.float32)) for name, value in state.items()}


def forward(function: Callable, split: Callable) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
  """Composes a function of NCHW tensors with the split of its output into named parts: a function of NHWC arrays."""
  torch = library('torch')

  def run(images):
    with torch.no_grad():
      parts = split(function(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())))
    return {name: value.numpy() for name, value in parts.items()}

  return run


def tokens(out: 'torch.Tensor') -> dict[str, 'torch.Tensor']:
  """The parts of tokens [B, 1 + N, D], the class token first."""
  return {'cls': out[:, 0], 'patches': out[:, 1:]}


def maps(out: 'torch.Tensor') -> dict[str, 'torch.Tensor']:
  """The parts of feature maps [B, D, h, w]: their mean, and their positions row by row."""
  return {'cls': out.mean((2, 3)), 'patches': out.flatten(2).transpose(1, 2)}


def positioned(state: Arrays, config: dict, side: int, class_slot: int) -> Arrays:
  """The state with `pos_embed` for square images of `side` pixels; the class token's position is unchanged.

  timm resamples learned positions with antialiasing, we (and Hugging Face) without. So timm's model gets ours.
  """
  new, old = side // config['patch_size'], config['image_size'] // config['patch_size']
  if new == old:
    return state
  pos = state['pos_embed'][0]
  if config.get('positions') == 'sincos':
    patches = sincos((new, new), config['width'])
  else:
    patches = resampling_matrix((new, new), (old, old)) @ pos[class_slot:]
  return state | {'pos_embed': np.concatenate([pos[:class_slot], patches])[None]}


def _import_torchvision() -> None:
  """Imports torchvision, with stand-ins for its compiled operators if they do not load with this build of PyTorch.

  timm and transformers import it, but need none of those operators.
  """
  if not importlib.util.find_spec('torchvision'):
    return  # transformers works without it
  try:
    importlib.import_module('torchvision')
  except RuntimeError:
    operators = importlib.import_module('torch').library.Library('torchvision', 'FRAGMENT')
    for name in ('nms', 'qnms'):
      operators.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    importlib.import_module('torchvision')
    _KEPT.append(operators)
