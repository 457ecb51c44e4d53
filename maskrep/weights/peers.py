"""What the other side of a conversion needs: its library, tensors, and a forward as ours."""

from collections.abc import Callable
import importlib
import importlib.util
from types import ModuleType

import numpy as np

from maskrep.models.position import resampling_matrix, sincos
from maskrep.weights.names import Arrays

# The name of what runs, and float32 images [B, H, W, 3] -> {'cls': [B, D], 'patches': [B, N, D]}.
Peer = tuple[str, Callable[[np.ndarray], dict[str, np.ndarray]]]

_KEPT = []  # operators live as long as what defined them


class Absent(Exception):
  """The other side is not installed, or has no such model; the message says what to do."""


def library(name: str) -> ModuleType:
  """Imports it.

  Raises:
    Absent: it is not installed, or does not load.
  """
  try:
    if name != 'torch':
      _import_torchvision()
    return importlib.import_module(name)
  except (ImportError, RuntimeError) as error:
    said = ' '.join(str(error).split())[:120]
    raise Absent(f"{name} cannot be imported ({said}); pip install -e '.[test]'") from error


def tensors(state: Arrays) -> dict:
  torch = library('torch')
  return {name: torch.from_numpy(np.array(value, np.float32)) for name, value in state.items()}


def forward(function: Callable) -> Callable[[np.ndarray], np.ndarray]:
  """A function of float32 NCHW tensors as one of NHWC arrays, without gradients."""
  torch = library('torch')

  def run(images):
    with torch.no_grad():
      return function(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()

  return run


def tokens(function: Callable) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
  """The same of one that returns the class token, then the patches."""
  run = forward(function)

  def split(images):
    out = run(images)
    return {'cls': out[:, 0], 'patches': out[:, 1:]}

  return split


def positioned(state: Arrays, config: dict, side: int, class_slot: int) -> Arrays:
  """With `pos_embed` for images of another side; the position of the class token stays.

  timm resamples learned positions with antialiasing, we without as Hugging Face does: so it gets ours.
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
  """The others import it, whose compiled operators do not load beside every build of torch, and none of them needs."""
  if not importlib.util.find_spec('torchvision'):
    return  # transformers does without
  try:
    importlib.import_module('torchvision')
  except RuntimeError:
    operators = importlib.import_module('torch').library.Library('torchvision', 'FRAGMENT')
    for name in ('nms', 'qnms'):
      operators.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    importlib.import_module('torchvision')
    _KEPT.append(operators)
