"""Boxes in an image, and antialiased resampling of their pixels."""

import jax
import jax.numpy as jnp

from maskrep.compiled_for import platform
from maskrep.types import Array


def random_crop_box(key: Array, size: Array, *, scale: tuple[float, float], ratio: tuple[float, float]) -> Array:
  """Draws the box of a random resized crop, distributed as in torchvision's `RandomResizedCrop.get_params`.

  Ten boxes are drawn at once, the area uniform in `scale` and the aspect log-uniform in `ratio`, and the first that
  fits is returned; if none does, the largest central box with an aspect in `ratio`.

  Args:
    key: one key.
    size: int32 [2], height and width of the image, at least 1.
    scale: range of the box's share of the image's area.
    ratio: range of the box's width over its height.

  Returns:
    float32 [4], whole numbers: top, left, height and width of a box inside the image.
  """
  size = jnp.asarray(size, jnp.float32)
  area, aspect, place = jnp.split(jax.random.uniform(key, (10, 4)), [1, 2], axis=1)
  area = jnp.prod(size) * (scale[0] + (scale[1] - scale[0]) * area)
  aspect = ratio[0] * (ratio[1] / ratio[0]) ** aspect
  sides = jnp.round(jnp.sqrt(area * jnp.concatenate([1 / aspect, aspect], axis=1)))
  fits = jnp.all((sides > 0) & (sides <= size), axis=1)
  first = jnp.argmax(fits)
  drawn = jnp.concatenate([jnp.floor(place[first] * (size - sides[first] + 1)), sides[first]])

  largest = jnp.clip(jnp.round(size[::-1] * jnp.array([1 / ratio[0], ratio[1]])), 1, size)
  central = jnp.concatenate([(size - largest) // 2, largest])
  return jnp.where(fits[first], drawn, central)


def center_crop_box(size: Array, out_size: int, fraction: float) -> Array:
  """Returns the box, float32 [4], equal to resizing the shorter side to `out_size / fraction` and cropping the centre.

  Rounds as torchvision's `Resize` and `CenterCrop` do. `size` is int32 [2].
  """
  resized = round(out_size / fraction) * size // jnp.min(size)
  scale = size / resized
  return jnp.concatenate([jnp.round((resized - out_size) / 2) * scale, out_size * scale])


def resample(canvas: Array, box: Array, out_size: int, *, flip: Array | bool, within: Array) -> Array:
  """Resizes a box to a square with the triangle filter, widened if it reduces, as Pillow's `resize(BILINEAR, box)`.

  Two products with weight matrices. `jax.image.scale_and_translate` makes the same matrices for the complete array but
  cannot limit them to a box, so padding and pixels outside the crop would leak in at the edges.

  Args:
    canvas: uint8 [S, S, C].
    box: float32 [4], top, left, height and width.
    out_size: side of the result.
    flip: bool scalar, whether to mirror left and right.
    within: float32 [4], the box of pixels that may contribute: `box` itself for a random crop; the complete image for a
      central one, as torchvision resizes before it crops.

  Returns:
    float32 [C, out_size, out_size] in [0, 1], planar, which vectorises better than interleaved channels.
  """
  rows = _weights(canvas.shape[0], out_size, box[0::2], within[0::2])
  columns = _weights(canvas.shape[1], out_size, box[1::2], within[1::2])
  columns = jnp.where(flip, columns[::-1], columns)
  # bfloat16 represents the pixels exactly, and rounds the weights and the intermediate result by at most one part in
  # 500: about as much as Pillow, which rounds to 8 bits after each pass.
  dtype = jnp.float32 if platform() == 'cpu' else jnp.bfloat16
  reduced = jnp.einsum('yh,hwc->ywc', rows.astype(dtype), canvas.astype(dtype))
  resized = jnp.einsum('ywc,xw->cyx', reduced, columns.astype(dtype), preferred_element_type=jnp.float32)
  return jnp.clip(resized / 255, 0, 1)


def nearest(label_map: Array, box: Array, out_size: int, *, flip: Array | bool) -> Array:
  """Nearest-neighbour counterpart of `resample` for label maps, with the same box and flip.

  Args:
    label_map: uint8 [S, S].
    box: float32 [4], whole numbers: top, left, height and width.
    out_size: side of the result.
    flip: bool scalar, whether to mirror left and right.

  Returns:
    uint8 [out_size, out_size].
  """
  top, left, height, width = box.astype(jnp.int32)
  odd = 2 * jnp.arange(out_size) + 1
  rows, columns = (start + odd * length // (2 * out_size) for start, length in ((top, height), (left, width)))
  return label_map[rows[:, None], jnp.where(flip, columns[::-1], columns)]


def _weights(in_size: int, out_size: int, box: Array, within: Array) -> Array:
  """Triangle filter along one axis, float32 [out_size, in_size]; `box` and `within` are (start, length)."""
  scale = box[1] / out_size
  centres = box[0] + (jnp.arange(out_size) + 0.5) * scale
  pixels = jnp.arange(in_size) + 0.5
  weights = jnp.maximum(0, 1 - jnp.abs(pixels - centres[:, None]) / jnp.maximum(scale, 1))
  weights = jnp.where((pixels > within[0]) & (pixels < within[0] + within[1]), weights, 0)
  return weights / jnp.sum(weights, axis=1, keepdims=True)


def inside(box: Array, height: int, width: int) -> Array:
  """Mask of the pixels in a box of whole numbers (top, left, height and width): bool [height, width]."""
  row, column = jnp.arange(height)[:, None], jnp.arange(width)
  return (row >= box[0]) & (row < box[0] + box[2]) & (column >= box[1]) & (column < box[1] + box[3])
