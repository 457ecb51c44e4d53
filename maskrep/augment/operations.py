"""The operations of RandAugment, Cubuk et al. 2020, arXiv:1909.13719, each with one argument in its own unit.

  rotate                       degrees about the centre
  shear_x, shear_y             slope, about the top left corner
  translate_x, translate_y     pixels
  cutout                       half the side, in pixels, of a square about a random pixel
  brightness, contrast, colour, sharpness, contrast_by_area
                               factor by which the image differs from black, its mean luma, each pixel's luma, the
                               smoothed image, or the grey of level H * W / 256; 1 changes nothing
  solarise                     the lowest level that is inverted
  solarise_add                 added to all levels below 128
  posterise                    bits kept, of 8
  identity, invert, auto_contrast, equalise   none

Under vmap `lax.switch` computes every branch, so the operations are grouped into three that are computed once each: a
warp, a blend and a curve. The cost does not grow with the number of operations.

Resampling takes the nearest pixel, as in the paper's code and torchvision. Levels are the 8-bit levels, 0 ... 255,
nearest to a pixel's values.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from maskrep.augment.colour import greyscale
from maskrep.types import Array

OPERATIONS = (
  'identity', 'rotate', 'shear_x', 'shear_y', 'translate_x', 'translate_y', 'cutout',
  'brightness', 'contrast', 'colour', 'sharpness', 'contrast_by_area',
  'invert', 'solarise', 'solarise_add', 'posterise', 'auto_contrast', 'equalise',
)  # fmt: skip
(
  IDENTITY, ROTATE, SHEAR_X, SHEAR_Y, TRANSLATE_X, TRANSLATE_Y, CUTOUT,
  BRIGHTNESS, CONTRAST, COLOUR, SHARPNESS, CONTRAST_BY_AREA,
  INVERT, SOLARISE, SOLARISE_ADD, POSTERISE, AUTO_CONTRAST, EQUALISE,
) = range(len(OPERATIONS))  # fmt: skip
LEVELS = np.arange(256)


def apply(key: Array, image: Array, operation: Array | int, argument: Array | float, fill: Array) -> Array:
  """Applies one operation.

  Args:
    key: one key, for the place of `cutout`.
    image: float32 [3, H, W] in [0, 1].
    operation: int32 scalar, an index of `OPERATIONS`.
    argument: float32 scalar, in the operation's unit.
    fill: float32 [3], the colour of pixels that a warp leaves empty.
  """
  warped = _warp(key, image, operation, argument, fill)
  blended = _blend(image, operation, argument)
  curved = _curve(image, operation, argument)
  changed = jnp.where(operation < BRIGHTNESS, warped, jnp.where(operation < INVERT, blended, curved))
  return jnp.where(operation == IDENTITY, image, changed)


def _warp(key: Array, image: Array, operation: Array | int, argument: Array | float, fill: Array) -> Array:
  """Rotates, shears or translates, by one affine map from the result's pixel centres to the image's; or cuts out."""
  height, width = image.shape[1:]
  angle = jnp.where(operation == ROTATE, math.pi / 180 * argument, 0)
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  shear_x, shear_y, translate_x, translate_y = (
    jnp.where(operation == o, argument, 0) for o in (SHEAR_X, SHEAR_Y, TRANSLATE_X, TRANSLATE_Y))
  rows, columns = jnp.arange(height)[:, None], jnp.arange(width)
  y, x = rows + 0.5, columns + 0.5
  middle_y, middle_x = height / 2, width / 2
  from_x = cos * x + (shear_x - sin) * y + (middle_x - cos * middle_x + sin * middle_y + translate_x)
  from_y = cos * y + (shear_y + sin) * x + (middle_y - cos * middle_y - sin * middle_x + translate_y)
  column, row = jnp.floor(from_x).astype(jnp.int32), jnp.floor(from_y).astype(jnp.int32)
  inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
  centre = jnp.floor(jax.random.uniform(key, (2,)) * jnp.array([height, width]))
  in_square = [(at >= middle - argument) & (at < middle + argument)
               for at, middle in zip((rows, columns), centre, strict=True)]
  inside &= ~((operation == CUTOUT) & in_square[0] & in_square[1])
  pixels = image.reshape(3, -1).at[:, jnp.where(inside, row * width + column, 0)].get(mode='promise_in_bounds')
  return jnp.where(inside, pixels, fill[:, None, None])


def _blend(image: Array, operation: Array | int, factor: Array | float) -> Array:
  """Pillow's `ImageEnhance`: blends the image with black, a grey, its luma or its smoothed self, or extrapolates."""
  luma = greyscale(image)
  grey = min(image.shape[1] * image.shape[2] // 256, 255) / 255
  towards = jnp.where(operation == CONTRAST, jnp.mean(luma), jnp.where(operation == CONTRAST_BY_AREA, grey, 0))
  towards = jnp.where(operation == COLOUR, luma, jnp.where(operation == SHARPNESS, _smooth(image), towards))
  return jnp.clip(factor * image + (1 - factor) * towards, 0, 1)


def _smooth(image: Array) -> Array:
  """Pillow's `SMOOTH`: each pixel has weight 5 and its eight neighbours 1; the border is unchanged."""
  rows = image[:, :-2] + image[:, 1:-1] + image[:, 2:]
  sums = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
  return image.at[:, 1:-1, 1:-1].set((sums + 4 * image[:, 1:-1, 1:-1]) / 13)


def _curve(image: Array, operation: Array | int, argument: Array | float) -> Array:
  """Maps each pixel's nearest level by a curve over the 256 levels of each channel."""
  pixels = jnp.round(255 * image).astype(jnp.int32).reshape(3, -1)
  # One flat index: a tenth of the time of a scatter over channels and levels on a CPU.
  indices = 256 * jnp.arange(3)[:, None] + pixels
  counts = jnp.zeros(3 * 256, jnp.int32).at[indices.reshape(-1)].add(1, mode='promise_in_bounds').reshape(3, 256)
  dropped = jnp.clip(8 - jnp.asarray(argument).astype(jnp.int32), 0, 8)
  curve = jnp.where(operation == SOLARISE, jnp.where(LEVELS < argument, LEVELS, 255 - LEVELS), 255 - LEVELS)
  added = jnp.where(LEVELS < 128, jnp.clip(LEVELS + argument, 0, 255), LEVELS)
  curve = jnp.where(operation == SOLARISE_ADD, added, curve)
  curve = jnp.where(operation == POSTERISE, LEVELS >> dropped << dropped, curve)
  curve = jnp.where(operation == AUTO_CONTRAST, _stretching(counts), curve)
  curve = jnp.where(operation == EQUALISE, _equalising(counts), curve)
  return (curve / 255).reshape(-1).at[indices].get(mode='promise_in_bounds').reshape(image.shape)


def _range(counts: Array) -> tuple[Array, Array]:
  """Lowest and highest level present in each channel: int32 [3, 256] -> int32 [3, 1] twice."""
  present = counts > 0
  return jnp.argmax(present, axis=1, keepdims=True), 255 - jnp.argmax(present[:, ::-1], axis=1, keepdims=True)


def _stretching(counts: Array) -> Array:
  """Linear curve that maps the lowest level present to 0 and the highest to 255: int32 [3, 256] -> float32 [3, 256]."""
  low, high = _range(counts)
  return jnp.where(high > low, jnp.clip((LEVELS - low) * (255 / jnp.maximum(high - low, 1)), 0, 255), LEVELS)


def _equalising(counts: Array) -> Array:
  """Pillow's curve that spreads the levels evenly: int32 [3, 256] -> int32 [3, 256]."""
  # The pixels below the highest level present are divided into 255 steps.
  below_highest = jnp.sum(jnp.where(LEVELS < _range(counts)[1], counts, 0), axis=1, keepdims=True)
  step = below_highest // 255
  below = jnp.cumsum(counts, axis=1) - counts
  even = jnp.minimum((below + step // 2) // jnp.maximum(step, 1), 255)
  return jnp.where(step > 0, even, LEVELS)
