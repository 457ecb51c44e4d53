"""Attention drawn over images, as in ExtreMA, Wu et al. 2022, arXiv:2206.04667, Figures 1 and 9."""

from collections.abc import Mapping, Sequence

import numpy as np

from maskrep.show.sheet import zoom

# Of queries, in their order; none is a colour of `heat`. The class token has its own.
COLOURS = (0.0, 0.6, 1.0), (0.0, 0.8, 0.2), (1.0, 0.0, 1.0), (0.0, 0.9, 0.9), (0.5, 0.3, 1.0), (0.6, 0.9, 0.0)
CLASS_TOKEN = 0.4, 0.4, 0.4


def spread(side: int) -> tuple[int, ...]:
  """Four patches of a grid of side x side: in the middle of each quarter."""
  ends = side // 4, side - 1 - side // 4
  return tuple(dict.fromkeys(row * side + column for row in ends for column in ends))


def heat(values: np.ndarray) -> np.ndarray:
  """Values [...] in [0, 1] as colours [..., 3]: from black over red and yellow to white."""
  return np.clip(3 * values[..., None] - np.arange(3), 0, 1)


def overlay(images: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """Attention in colours over the images in dark grey.

  Args:
    images: float [B, H, W, 3] in [0, 1].
    weights: float [B, N], on the patches row by row; each image has its own scale, from 0 to its largest weight.

  Returns:
    float [B, H, W, 3] in [0, 1].
  """
  side = round(weights.shape[1]**0.5)
  patch = images.shape[1] // side
  shares = np.clip(weights / np.maximum(weights.max(axis=1, keepdims=True), 1e-30), 0, 1)
  maps = shares.reshape(-1, side, side).repeat(patch, axis=1).repeat(patch, axis=2)
  return 0.4 * images.mean(axis=-1, keepdims=True) + 0.6 * heat(maps)


def framed(images: np.ndarray, colour: Sequence[float], box: tuple[int, int, int, int] | None = None) -> np.ndarray:
  """Draws a frame along the inner edge of a box (top, left, height, width) of [B, H, W, 3], or of the whole images."""
  top, left, height, width = box or (0, 0, *images.shape[1:3])
  line = max(1, images.shape[1] // 40)
  framed = images.copy()
  part = framed[:, top:top + height, left:left + width]
  for edge in part[:, :line], part[:, -line:], part[:, :, :line], part[:, :, -line:]:
    edge[:] = colour
  return framed


def columns(
  images: np.ndarray, queries: Mapping[int, np.ndarray], class_token: np.ndarray | None
) -> dict[str, np.ndarray]:
  """Caption -> pictures, float [B, H, W, 3] in [0, 1]: the images, on them each query's attention.

  The frame of a picture has the colour of its query, which is framed in the image.

  Args:
    images: float [B, H, W, 3] in [0, 1].
    queries: at most six patches, counted row by row -> their weights on all patches, float [B, N].
    class_token: weights of the class token, float [B, N]; None if there is none.
  """
  factor = zoom(images)
  images = images.repeat(factor, axis=1).repeat(factor, axis=2)
  marked, found = images, {}
  for colour, (patch, weights) in zip(COLOURS, queries.items(), strict=False):
    side = round(weights.shape[1]**0.5)
    size = images.shape[1] // side
    marked = framed(marked, colour, (patch // side * size, patch % side * size, size, size))
    found[f'patch {patch}'] = framed(overlay(images, weights), colour)
  if class_token is not None:
    found['class token'] = framed(overlay(images, class_token), CLASS_TOKEN)
  return {'image': marked} | found
