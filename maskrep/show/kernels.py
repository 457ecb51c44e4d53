"""The kernels of the first layer of an encoder, as in MSCN (arXiv:2206.07700), Figure 2."""

from collections.abc import Mapping
import math

import numpy as np

CONVOLUTION, PATCHES = 'conv1.kernel', 'embed.kernel'  # of a ResNet, and of a ViT or CaiT
BLANK = 0.1  # of the largest norm, below which a kernel is blank


def first_kernels(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
  """The kernels, of the largest norm first: float [n, h, w, 3].

  Raises:
    ValueError: the network has no first layer that reads colours.
  """
  if CONVOLUTION in arrays:
    kernels = np.moveaxis(arrays[CONVOLUTION], -1, 0)
  elif PATCHES in arrays:
    flat = arrays[PATCHES]  # [side * side * 3, n]
    side = math.isqrt(len(flat) // 3)
    kernels = flat.T.reshape(-1, side, side, 3)
  else:
    raise ValueError(f'has neither {CONVOLUTION} nor {PATCHES}')
  return kernels[np.argsort(-_norms(kernels), kind='stable')]


def pixels(kernels: np.ndarray) -> np.ndarray:
  """Kernels as pictures: 0 is grey, and one scale holds for all, so that a blank kernel looks blank."""
  return 0.5 + kernels / (2 * max(np.percentile(np.abs(kernels), 99.5), 1e-12))


def blank(kernels: np.ndarray) -> int:
  """The number of kernels whose norm is below a tenth of the largest."""
  norms = _norms(kernels)
  return int((norms < BLANK * norms.max()).sum())


def _norms(kernels: np.ndarray) -> np.ndarray:
  return np.sqrt((kernels**2).sum(axis=(1, 2, 3)))
