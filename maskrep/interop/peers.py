"""What the other side of a conversion needs: its library, tensors, and a forward as ours."""

from collections.abc import Callable
import importlib
from types import ModuleType

import numpy as np

from maskrep.interop.names import Arrays
from maskrep.models.position import resampling_matrix

# The name of what runs, and float32 images [B, H, W, 3] -> {'cls': [B, D], 'patches': [B, N, D]}.
Peer = tuple[str, Callable[[np.ndarray], dict[str, np.ndarray]]]


class Absent(Exception):
  """The other side is not installed, or has no such model; the message says what to do."""


def library(name: str) -> ModuleType:
  """Imports it.

  Raises:
    Absent: it is not installed, or does not load.
  """
  try:
    return importlib.import_module(name)
  except (ImportError, RuntimeError) as error:  # compiled operators that do not fit raise RuntimeError
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

  timm resamples with antialiasing, we without as Hugging Face does: so it gets ours.
  """
  new, old = side // config['patch_size'], config['image_size'] // config['patch_size']
  if new == old:
    return state
  pos = state['pos_embed'][0]
  patches = resampling_matrix((new, new), (old, old)) @ pos[class_slot:]
  return state | {'pos_embed': np.concatenate([pos[:class_slot], patches])[None]}
