"""RandAugment, Cubuk et al. 2020, arXiv:1909.13719: random operations of one magnitude.

Under vmap `lax.switch` computes every branch, so the fourteen operations of the paper are grouped into three that are
computed once each: a warp, a blend and a curve. The cost of a layer does not grow with the number of operations.

Ranges at magnitude 10 (timm's 'increasing' set; torchvision has the same at 30, as its bins are thirds). Magnitude 0
changes nothing except by auto-contrast and equalise, which have no strength. Beyond 10 (Steiner et al. 2021 use 15 and
20) all are extrapolated linearly to their limits.

  rotate            up to 30 degrees either way about the centre
  shear x, y        0.3 either way about the top left corner
  translate x, y    0.45 of the side either way
  colour, contrast, brightness, sharpness     factor 1 - 0.9 or 1 + 0.9, at least 0.1
  posterise         4 of 8 bits kept: 8 - 0.4 per unit of magnitude, rounded, at least 1
  solarise          inverts every value of at least 256 (1 - magnitude / 10), so all at 10

Resampling takes the nearest pixel, as in the paper's code and torchvision, and fills with grey, 0.5.
"""

import math

import jax
import jax.numpy as jnp

from maskrep.augment.colour import greyscale
from maskrep.types import Array

OPERATIONS = (
  'identity', 'rotate', 'shear_x', 'shear_y', 'translate_x', 'translate_y',
  'brightness', 'contrast', 'colour', 'sharpness',
  'solarise', 'posterise', 'auto_contrast', 'equalise',
)  # fmt: skip
(
  IDENTITY, ROTATE, SHEAR_X, SHEAR_Y, TRANSLATE_X, TRANSLATE_Y,
  BRIGHTNESS, CONTRAST, COLOUR, SHARPNESS,
  SOLARISE, POSTERISE, AUTO_CONTRAST, EQUALISE,
) = range(14)  # fmt: skip
FILL = 0.5


def rand_augment(
  key: Array, image: Array, *, layers: int, magnitude: Array | float, deviation: float = 0.0
) -> Array:
  """Applies `layers` operations in sequence, drawn uniformly with replacement, each with a random sign.

  Args:
    key: one key.
    image: float32 [3, H, W] in [0, 1].
    layers: number of operations.
    magnitude: at least 0; 10 is the full range of every operation, and more is allowed.
    deviation: standard deviation of the normal distribution from which each operation draws its magnitude (timm's
      `mstd`), clipped to [0, max(10, `magnitude`)]. The paper has 0.

  Returns:
    float32 [3, H, W] in [0, 1].
  """
  operation_key, sign_key = jax.random.split(key)
  operations = jax.random.randint(operation_key, (layers,), 0, len(OPERATIONS))
  if deviation:
    drawn = magnitude + deviation * jax.random.normal(jax.random.fold_in(key, 2), (layers,))
    magnitude = jnp.clip(drawn, 0, jnp.maximum(10, magnitude))
  levels = jnp.where(jax.random.bernoulli(sign_key, shape=(layers,)), magnitude, -magnitude) / 10
  return jax.lax.scan(lambda image, drawn: (apply(image, *drawn), None), image, (operations, levels))[0]


def apply(image: Array, operation: Array | int, level: Array | float) -> Array:
  """Applies one operation.

  Args:
    image: float32 [3, H, W] in [0, 1].
    operation: int32 scalar, an index of `OPERATIONS`.
    level: float32 scalar, the strength as a share of the range; its sign is the direction.
  """
  warped = _warp(image, operation, level)
  blended = _blend(image, operation, jnp.maximum(0.1, 1 + 0.9 * level))
  curved = _curve(image, operation, jnp.abs(level))
  changed = jnp.where(operation < BRIGHTNESS, warped, jnp.where(operation < SOLARISE, blended, curved))
  return jnp.where(operation == IDENTITY, image, changed)


def _warp(image: Array, operation: Array | int, level: Array | float) -> Array:
  """Rotates, shears or translates: one affine map from the result's pixel centres to the image's."""
  height, width = image.shape[1:]
  angle = jnp.where(operation == ROTATE, math.radians(30) * level, 0)
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  shear_x, shear_y, translate_x, translate_y = (
    jnp.where(operation == o, range_ * level, 0)
    for o, range_ in ((SHEAR_X, 0.3), (SHEAR_Y, 0.3), (TRANSLATE_X, 0.45 * width), (TRANSLATE_Y, 0.45 * height))
  )
  y, x = jnp.arange(height)[:, None] + 0.5, jnp.arange(width) + 0.5
  middle_y, middle_x = height / 2, width / 2
  from_x = cos * x + (shear_x - sin) * y + (middle_x - cos * middle_x + sin * middle_y + translate_x)
  from_y = cos * y + (shear_y + sin) * x + (middle_y - cos * middle_y - sin * middle_x + translate_y)
  column, row = jnp.floor(from_x).astype(jnp.int32), jnp.floor(from_y).astype(jnp.int32)
  inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
  pixels = image.reshape(3, -1).at[:, jnp.where(inside, row * width + column, 0)].get(mode='promise_in_bounds')
  return jnp.where(inside, pixels, FILL)


def _blend(image: Array, operation: Array | int, factor: Array) -> Array:
  """Pillow's `ImageEnhance`: blends with black, the mean luma, each pixel's luma or the smoothed image."""
  luma = greyscale(image)
  towards = jnp.where(operation == CONTRAST, jnp.mean(luma), jnp.where(operation == COLOUR, luma, 0))
  towards = jnp.where(operation == SHARPNESS, _smooth(image), towards)
  return jnp.clip(factor * image + (1 - factor) * towards, 0, 1)


def _smooth(image: Array) -> Array:
  """Pillow's `SMOOTH`: each pixel has weight 5 and its eight neighbours 1; the border is unchanged."""
  rows = image[:, :-2] + image[:, 1:-1] + image[:, 2:]
  sums = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
  return image.at[:, 1:-1, 1:-1].set((sums + 4 * image[:, 1:-1, 1:-1]) / 13)


def _curve(image: Array, operation: Array | int, level: Array) -> Array:
  """Maps each pixel's nearest level by a curve over the 256 levels of each channel."""
  pixels = jnp.round(255 * image).astype(jnp.int32).reshape(3, -1)
  # One flat index: a tenth of the time of a scatter over channels and levels on a CPU.
  indices = 256 * jnp.arange(3)[:, None] + pixels
  counts = jnp.zeros(3 * 256, jnp.int32).at[indices.reshape(-1)].add(1, mode='promise_in_bounds').reshape(3, 256)
  levels = jnp.arange(256)
  dropped = jnp.clip(jnp.round(4 * level).astype(jnp.int32), 0, 7)  # bits
  solarised = jnp.where(levels < 256 * (1 - level), levels, 255 - levels)
  curve = jnp.where(operation == SOLARISE, solarised, levels >> dropped << dropped)
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
  levels = jnp.arange(256)
  return jnp.where(high > low, jnp.clip((levels - low) * (255 / jnp.maximum(high - low, 1)), 0, 255), levels)


def _equalising(counts: Array) -> Array:
  """Pillow's curve that spreads the levels evenly: int32 [3, 256] -> int32 [3, 256]."""
  # The pixels below the highest level present are divided into 255 steps.
  below_highest = jnp.sum(jnp.where(jnp.arange(256) < _range(counts)[1], counts, 0), axis=1, keepdims=True)
  step = below_highest // 255
  below = jnp.cumsum(counts, axis=1) - counts
  even = jnp.minimum((below + step // 2) // jnp.maximum(step, 1), 255)
  return jnp.where(step > 0, even, jnp.arange(256))
