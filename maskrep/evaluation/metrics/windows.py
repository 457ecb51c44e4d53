"""Logits of whole images from a network for squares: of the squashed image, or of windows that slide over it.

Sliding windows, as in mmsegmentation: the image is resized until its shorter side is that of a window; windows of its
full width or height follow each other at a stride, the last ends with the image, and where they overlap their logits
are averaged. An image longer than `LONGEST` windows is squashed to that.

All steps are linear along each axis, so the logits of an image are sums of products of weights: for pixel (y, x) of
image b, the sum over windows w and their cells (r, s) of rows[w, b, y, r] columns[w, b, x, s] logits[w, b, r, s].
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from maskrep.models.encoder import Preprocessing
from maskrep.types import Array

LONGEST = 4  # sides of a window


def logits(
  segment: Callable[[Array], Array], preprocessing: Preprocessing, canvases: Array, sizes: Array, *, stride: int
) -> tuple[Array, Array, Array]:
  """Logits of the windows of each image, and the weights with which their cells add up to its pixels.

  Args:
    segment: preprocessed images [B, size, size, 3] -> logits [B, h, w, C].
    canvases, sizes: uint8 [B, S, S, 3] and int32 [B, 2].
    stride: pixels of the resized image between windows; 0 squashes the image to a single window.

  Returns:
    float32 [W, B, h, w, C]; rows [W, B, S, h]; columns [W, B, S, w].
  """
  if not stride:
    found = segment(preprocessing(canvases, sizes, whole=True))[None]
    rows, columns = (jax.vmap(lambda length, cells=cells: _linear(canvases.shape[1], cells, length))(lengths)[None]
                     for cells, lengths in zip(found.shape[2:4], sizes.T, strict=True))
    return found, rows, columns
  size = preprocessing.size
  lengths = resized(sizes, size)
  counts = 1 + -(-(lengths - size) // stride)  # of windows along each axis, [B, 2]: one of both is 1
  most = 1 + -(-(LONGEST - 1) * size // stride)
  shapes = jax.eval_shape(segment, jax.ShapeDtypeStruct((len(sizes), size, size, 3), jnp.float32))

  def encoded(i):
    scale = sizes / lengths
    boxes = jnp.concatenate([starts(lengths, i, size, stride) * scale, size * scale], axis=1)
    return segment(preprocessing.windows(canvases, sizes, boxes))

  # Most batches have no image with so many windows; the others' logits are never computed.
  found = jax.lax.map(lambda i: jax.lax.cond(i < counts.max(), encoded, lambda i: jnp.zeros(shapes.shape), i),
                      jnp.arange(most))
  rows, columns = (
    jnp.stack([jax.vmap(lambda *image, i=i, cells=cells: _spread(canvases.shape[1], cells, size, stride, i, *image))(
      sizes[:, axis], lengths[:, axis], counts[:, axis]) for i in range(most)])
    for axis, cells in enumerate(shapes.shape[1:3]))
  there = jnp.arange(most)[:, None] < counts.max(1)
  return found, rows * there[..., None, None], columns


def resized(sizes: Array, window: int) -> Array:
  """Height and width, int32 [B, 2], with the shorter one that of a window."""
  shorter = sizes.min(1, keepdims=True)
  return jnp.minimum((2 * sizes * window + shorter) // (2 * shorter), LONGEST * window)


def starts(lengths: Array, index: Array | int, window: int, stride: int) -> Array:
  """First pixel of window `index` along axes of these lengths."""
  return jnp.minimum(index * stride, lengths - window)


def _spread(side, cells, window, stride, index, original, length, count) -> Array:
  """Weights [side, cells] of a window's cells along one axis, for the first `original` of `side` pixels.

  From the cells to the pixels of the window, divided by the number of windows on each, to the pixels of the image.
  """
  pixels = jnp.arange(LONGEST * window)
  first = starts(length, jnp.arange(1 + -(-(LONGEST - 1) * window // stride)), window, stride)[:, None]
  inside = (pixels >= first) & (pixels < first + window)
  counted = jnp.arange(len(first))[:, None] < count
  within = _tent((pixels - first[index] + 0.5) * cells / window - 0.5, cells, cells) * inside[index][:, None]
  averaged = within / jnp.maximum((inside & counted).sum(0), 1)[:, None]
  back = _tent((jnp.arange(side) + 0.5) * length / original - 0.5, len(pixels), length)
  return jnp.dot(back, averaged, precision='highest')


def _linear(pixels: int, cells: int, length: Array) -> Array:
  """Returns float32 weights [pixels, cells] of linear interpolation from cells that cover the first `length` pixels."""
  return _tent((jnp.arange(pixels) + 0.5) * cells / length - 0.5, cells, cells)


def _tent(places: Array, cells: int, used: Array | int) -> Array:
  """Weights [..., cells] of linear interpolation at some places, between the centres of the first `used` cells."""
  return jnp.maximum(0, 1 - jnp.abs(jnp.clip(places, 0, used - 1)[:, None] - jnp.arange(cells)))
