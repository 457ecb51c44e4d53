"""Position embeddings: resampling learned ones to another grid, and fixed sine-cosine ones."""

import numpy as np

RESAMPLING = 'bicubic', 'bilinear'


def _cubic(d: np.ndarray) -> np.ndarray:
  """The cubic kernel with A = -0.75 at distances d."""
  a = -0.75
  near = ((a + 2) * d - (a + 3)) * d * d + 1
  far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
  return np.where(d <= 1, near, np.where(d < 2, far, 0))


def _weights(new: int, old: int, mode: str) -> np.ndarray:
  """Weights [new, old] along one axis: half-pixel centres, no antialiasing, clamped borders."""
  kernel = _cubic if mode == 'bicubic' else lambda d: np.maximum(1 - d, 0)
  x = (np.arange(new) + 0.5) * old / new - 0.5
  weights = np.zeros((new, old))
  for tap in range(-1, 3):
    at = np.floor(x).astype(int) + tap
    np.add.at(weights, (np.arange(new), at.clip(0, old - 1)), kernel(np.abs(x - at)))
  return weights


def resampling_matrix(new: tuple[int, int], old: tuple[int, int], mode: str = 'bicubic') -> np.ndarray:
  """Returns the float32 matrix [N_new, N_old] that resamples row-major (rows, columns) grids from old to new.

  Equal to PyTorch's `F.interpolate(mode=mode, align_corners=False)`; Hugging Face's ViTs use 'bicubic'.
  """
  return np.kron(_weights(new[0], old[0], mode), _weights(new[1], old[1], mode)).astype(np.float32)


def sincos(grid: tuple[int, int], width: int) -> np.ndarray:
  """Fixed 2-D sine-cosine embeddings, float32 [rows * columns, width], as in MAE (He et al. 2022, section 3).

  A quarter of the channels each: sine and cosine of the column, sine and cosine of the row, with wavelengths from 2 pi
  to 10 000 * 2 pi.

  Raises:
    ValueError: the width is not a multiple of 4.
  """
  if width % 4:
    raise ValueError(f'width {width} is not a multiple of 4, as sine-cosine position embeddings need')
  frequencies = 10_000.0 ** -(np.arange(width // 4) / (width / 4))
  rows, columns = (index.reshape(-1, 1) * frequencies for index in np.indices(grid))
  return np.concatenate([np.sin(columns), np.cos(columns), np.sin(rows), np.cos(rows)], axis=1).astype(np.float32)
