"""RandAugment, Cubuk et al. 2020, arXiv:1909.13719: random operations of one magnitude, from one of two sets.

`augreg`: the sixteen operations of AugReg's code (Steiner et al. 2021, arXiv:2106.10270; big_vision), at magnitude m:

  rotate           3 m degrees either way
  shear x, y       0.03 m either way
  translate x, y   10 m pixels either way, whatever the size of the image
  cutout           half the side is 4 m pixels
  brightness, contrast, colour, sharpness      factor 0.1 + 0.18 m, so only increases above 5; the contrast is
                   `contrast_by_area`: its code divides the number of pixels by 256 instead of the sum of their luma
  posterise        0.4 m bits kept: 6 at 15, so that a higher magnitude changes less
  solarise         from level 25.6 m, modulo 256: its code compares bytes, and 384, at 15, is 128 as a byte (computed
                   with TensorFlow 2.12 and NumPy 1.23; NumPy 2 refuses 384)
  solarise add     11 m
  invert, auto-contrast, equalise

`increasing`: the fifteen operations of timm's `inc1`, at a magnitude of at most 10, each applied half of the time:

  rotate, shear, solarise add   as above, the last at most 128
  translate x, y   0.045 m of the side either way
  brightness, contrast, colour, sharpness      factor 1 - 0.09 m or 1 + 0.09 m, at least 0.1
  posterise        4 - 0.4 m bits kept
  solarise         from level 256 - 25.6 m
  invert, auto-contrast, equalise

Bits and levels are rounded as in the respective code. Pixels that a warp leaves empty are grey (AugReg) or of the mean
colour (timm). timm resamples by a given or random filter; we take the nearest pixel.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from maskrep.augment.operations import IDENTITY, OPERATIONS, apply
from maskrep.types import Array

ENHANCED = 'brightness', 'colour', 'sharpness'
PLAIN = {'invert': 0.0, 'auto_contrast': 0.0, 'equalise': 0.0}


class Draw(NamedTuple):
  """The random draw from which an operation's argument is computed.

  Attributes:
    level: a tenth of the magnitude.
    sign: 1 or -1.
    height, width: size of the image in pixels.
  """

  level: Array | float
  sign: Array
  height: int
  width: int


class OperationSet(NamedTuple):
  """A set of operations.

  Attributes:
    arguments: a draw -> the argument of each operation, by its name.
    probability: the probability that a drawn operation is applied.
    highest: the highest level; None is no limit.
    fill: colour of pixels that a warp leaves empty; None is the mean of the data.
  """

  arguments: Callable[[Draw], Mapping[str, Array | float]]
  probability: float
  highest: float | None
  fill: tuple[float, ...] | None


def _geometry(draw: Draw) -> dict[str, Array | float]:
  signed = draw.sign * draw.level
  return {'rotate': 30 * signed, 'shear_x': 0.3 * signed, 'shear_y': 0.3 * signed}


def _augreg(draw: Draw) -> dict[str, Array | float]:
  level, pixels = draw.level, 100 * draw.sign * draw.level
  return PLAIN | _geometry(draw) | dict.fromkeys((*ENHANCED, 'contrast_by_area'), 0.1 + 1.8 * level) | {
    'translate_x': pixels, 'translate_y': pixels, 'cutout': jnp.floor(40 * level), 'posterise': jnp.floor(4 * level),
    'solarise': jnp.floor(256 * level) % 256, 'solarise_add': jnp.floor(110 * level)}


def _increasing(draw: Draw) -> dict[str, Array | float]:
  level = draw.level
  factor = jnp.maximum(0.1, 1 + 0.9 * draw.sign * level)
  return PLAIN | _geometry(draw) | dict.fromkeys((*ENHANCED, 'contrast'), factor) | {
    'translate_x': 0.45 * draw.width * draw.sign * level, 'translate_y': 0.45 * draw.height * draw.sign * level,
    'posterise': 4 - jnp.floor(4 * level), 'solarise': 256 - jnp.floor(256 * level),
    'solarise_add': jnp.minimum(128, jnp.floor(110 * level))}


SETS = {
  'augreg': OperationSet(_augreg, 1.0, None, (128 / 255,) * 3),
  'increasing': OperationSet(_increasing, 0.5, 1.0, None),
}


def rand_augment(
  key: Array, image: Array, *, operations: str, layers: int, magnitude: float, deviation: float = 0.0,
  mean: tuple[float, float, float],
) -> Array:
  """Applies `layers` operations in sequence, drawn uniformly with replacement, each with a random sign.

  Args:
    key: one key.
    image: float32 [3, H, W] in [0, 1].
    operations: the name of a set, one of `SETS`.
    layers: number of operations.
    magnitude: at least 0.
    deviation: standard deviation of the normal distribution from which each operation draws its magnitude (timm's
      `mstd`); 0 in the paper.
    mean: mean colour of the data, in [0, 1].

  Returns:
    float32 [3, H, W] in [0, 1].
  """
  kinds = SETS[operations]
  fill = jnp.array(mean if kinds.fill is None else kinds.fill)

  def layer(image, key):
    operation, argument = draw_operation(key, kinds, magnitude, deviation, image.shape[1], image.shape[2])
    return apply(jax.random.fold_in(key, 1), image, operation, argument, fill), None

  return jax.lax.scan(layer, image, jax.random.split(key, layers))[0]


def draw_operation(
  key: Array, kinds: OperationSet, magnitude: float, deviation: float, height: int, width: int
) -> tuple[Array, Array]:
  """Draws an operation of a set, an index of `OPERATIONS`, and its argument: int32 and float32 scalars."""
  choice_key, sign_key, apply_key, level_key = jax.random.split(key, 4)
  level = magnitude / 10
  if deviation:
    level = jnp.maximum(0, level + deviation / 10 * jax.random.normal(level_key))
  if kinds.highest is not None:
    level = jnp.minimum(level, kinds.highest)
  sign = jnp.where(jax.random.bernoulli(sign_key), 1.0, -1.0)
  arguments = kinds.arguments(Draw(level, sign, height, width))
  choice = jax.random.randint(choice_key, (), 0, len(arguments))
  operation = jnp.array([OPERATIONS.index(name) for name in arguments])[choice]
  argument = jnp.array([jnp.asarray(value, jnp.float32) for value in arguments.values()])[choice]
  return jnp.where(jax.random.bernoulli(apply_key, kinds.probability), operation, IDENTITY), argument
