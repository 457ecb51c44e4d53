"""Masks of pixels for Siamese ConvNets: Masked Siamese ConvNets, Jing et al. 2022, arXiv:2206.07700.

A convolution sees the edges of a mask, where a Transformer sees only patches that are missing. So images are high-pass
filtered first, channels are masked apart, and masked areas filled with noise. A mask is bool, true where it hides.
"""

import dataclasses
import math
from typing import Annotated

import jax
import jax.numpy as jnp

from maskrep.augment.crop import random_crop_box
from maskrep.masking.tokens import num_kept
from maskrep.schema import Count, NonNegative, Probability, Rising, Scale, Share, check
from maskrep.types import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class PixelMask:
  """How one view is masked. `focal` and `channelwise` are probabilities."""

  cell: Count  # side in pixels of the squares that a grid mask hides or shows
  ratio: Share  # share of the squares that it hides
  focal: Probability  # of a focal mask in place of a grid
  focal_area: Scale  # share of the image that a focal mask shows
  focal_aspect: Annotated[tuple[float, float], Rising(math.inf, '(0.75, 1.33)')] = (3 / 4, 4 / 3)  # width over height
  channelwise: Probability  # that every channel draws a mask of its own
  noise_std: NonNegative  # of what fills the masked area, around 0; 0 is none

  __post_init__ = check


def grid_mask(key: Array, size: tuple[int, int], cell: int, ratio: float) -> Array:
  """Hides a uniformly random subset of the squares of a grid: bool [H, W].

  Of N squares `num_kept(N, ratio)` are shown: a ratio of 0.15 hides 8 of 49.

  Raises:
    ValueError: height or width is not a multiple of `cell`, or no square would be shown.
  """
  height, width = size
  if height % cell or width % cell:
    raise ValueError(f'image size {height}x{width} is not a multiple of cell={cell}')
  rows, columns = height // cell, width // cell
  shown = num_kept(rows * columns, ratio)
  # No top_k, for which XLA would gather the draws of the whole batch.
  hidden = (jax.random.permutation(key, rows * columns) >= shown).reshape(rows, columns)
  return jnp.repeat(jnp.repeat(hidden, cell, axis=0), cell, axis=1)


def focal_mask(key: Array, size: tuple[int, int], area: tuple[float, float], aspect: tuple[float, float]) -> Array:
  """Shows one random box, drawn as a random crop's, and hides the rest: bool [H, W]."""
  top, left, height, width = random_crop_box(key, jnp.array(size), scale=area, ratio=aspect)
  rows, columns = jnp.arange(size[0])[:, None], jnp.arange(size[1])
  return ~((rows >= top) & (rows < top + height) & (columns >= left) & (columns < left + width))


def draw_mask(key: Array, size: tuple[int, int], recipe: PixelMask) -> Array:
  """A grid or a focal mask, one for all three channels or one for each: bool [H, W, 3]."""
  choice_key, mask_key = jax.random.split(key)
  focal, channelwise = jax.random.uniform(choice_key, (2,))

  def one(key):
    grid = grid_mask(key, size, recipe.cell, recipe.ratio)
    return jnp.where(focal < recipe.focal, focal_mask(key, size, recipe.focal_area, recipe.focal_aspect), grid)

  masks = jax.vmap(one, out_axes=-1)(jax.random.split(mask_key, 3))
  return jnp.where(channelwise < recipe.channelwise, masks, masks[..., :1])


def fill(key: Array, image: Array, mask: Array, std: float) -> Array:
  """Gaussian noise of this deviation where the mask hides: float32 and bool [H, W, C] -> [H, W, C]."""
  return jnp.where(mask, std * jax.random.normal(key, image.shape), image)


def mask_image(key: Array, image: Array, recipe: PixelMask) -> tuple[Array, Array]:
  """One masked version: float32 [H, W, 3], best high-pass filtered -> the same, and the mask, bool [H, W, 3]."""
  mask_key, noise_key = jax.random.split(key)
  mask = draw_mask(mask_key, image.shape[:2], recipe)
  return fill(noise_key, image, mask, recipe.noise_std), mask


def mask_images(keys: Array, images: Array, recipe: PixelMask, count: int) -> Array:
  """`count` masked versions of every image: keys [B], float32 [B, H, W, 3] -> [B, count, H, W, 3].

  `[b, i]` is `mask_image(fold_in(keys[b], i), images[b], recipe)[0]`.
  """

  def versions(key, image):
    masked = lambda i: mask_image(jax.random.fold_in(key, i), image, recipe)[0]  # noqa: E731
    return jax.vmap(masked)(jnp.arange(count))

  return jax.vmap(versions)(keys, images)
