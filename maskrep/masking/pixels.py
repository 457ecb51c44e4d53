"""Pixel masks for Siamese ConvNets: Masked Siamese ConvNets, Jing et al. 2022, arXiv:2206.07700.

A convolution sees the edges of a mask, while a Transformer only lacks patches. So images are first high-pass filtered,
channels are masked independently, and masked areas are filled with noise. A mask is bool, true for hidden pixels.
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
  """The recipe of a mask.

  Attributes:
    cell: side in pixels of the squares of a grid mask.
    ratio: share of the squares that a grid mask hides.
    focal: probability of a focal mask instead of a grid mask.
    focal_area: smallest and largest share of the image that a focal mask leaves visible.
    focal_aspect: smallest and largest width over height of that part.
    channelwise: probability that each channel has its own mask.
    noise_std: standard deviation of the noise that fills hidden pixels; 0 fills with zeros.
  """

  cell: Count
  ratio: Share
  focal: Probability
  focal_area: Scale
  focal_aspect: Annotated[tuple[float, float], Rising(math.inf, '(0.75, 1.33)')] = (3 / 4, 4 / 3)
  channelwise: Probability
  noise_std: NonNegative

  __post_init__ = check


def grid_mask(key: Array, size: tuple[int, int], cell: int, ratio: float) -> Array:
  """Hides a uniformly random subset of the squares of a grid: bool [H, W].

  Of N squares `num_kept(N, ratio)` stay visible: a ratio of 0.15 hides 8 of 49.

  Raises:
    ValueError: height or width is not a multiple of `cell`, or no square would be visible.
  """
  height, width = size
  if height % cell or width % cell:
    raise ValueError(f'image size {height}x{width} is not a multiple of cell={cell}')
  rows, columns = height // cell, width // cell
  shown = num_kept(rows * columns, ratio)
  # Not top_k: XLA would gather the random numbers of the whole batch for it.
  hidden = (jax.random.permutation(key, rows * columns) >= shown).reshape(rows, columns)
  return jnp.repeat(jnp.repeat(hidden, cell, axis=0), cell, axis=1)


def focal_mask(key: Array, size: tuple[int, int], area: tuple[float, float], aspect: tuple[float, float]) -> Array:
  """Leaves one random box visible, drawn as for a random crop, and hides the rest: bool [H, W]."""
  top, left, height, width = random_crop_box(key, jnp.array(size), scale=area, ratio=aspect)
  rows, columns = jnp.arange(size[0])[:, None], jnp.arange(size[1])
  return ~((rows >= top) & (rows < top + height) & (columns >= left) & (columns < left + width))


def draw_mask(key: Array, size: tuple[int, int], recipe: PixelMask) -> Array:
  """Draws a grid or focal mask, one for all three channels or one per channel: bool [H, W, 3]."""
  choice_key, mask_key = jax.random.split(key)
  focal, channelwise = jax.random.uniform(choice_key, (2,))

  def one(key):
    grid = grid_mask(key, size, recipe.cell, recipe.ratio)
    return jnp.where(focal < recipe.focal, focal_mask(key, size, recipe.focal_area, recipe.focal_aspect), grid)

  masks = jax.vmap(one, out_axes=-1)(jax.random.split(mask_key, 3))
  return jnp.where(channelwise < recipe.channelwise, masks, masks[..., :1])


def fill(key: Array, image: Array, mask: Array, std: float) -> Array:
  """Replaces hidden pixels with Gaussian noise of deviation `std`: float32 and bool [H, W, C] -> [H, W, C]."""
  return jnp.where(mask, std * jax.random.normal(key, image.shape), image)


def mask_image(key: Array, image: Array, recipe: PixelMask) -> tuple[Array, Array]:
  """Masks an image, preferably high-pass filtered: float32 [H, W, 3] -> the same, and the mask, bool [H, W, 3]."""
  mask_key, noise_key = jax.random.split(key)
  height, width, _ = image.shape
  mask = draw_mask(mask_key, (height, width), recipe)
  return fill(noise_key, image, mask, recipe.noise_std), mask


def mask_images(keys: Array, images: Array, recipe: PixelMask, count: int) -> Array:
  """Makes `count` masked versions of every image: keys [B], float32 [B, H, W, 3] -> [B, count, H, W, 3].

  `[b, i]` is `mask_image(fold_in(keys[b], i), images[b], recipe)[0]`.
  """

  def versions(key, image):
    masked = lambda i: mask_image(jax.random.fold_in(key, i), image, recipe)[0]  # noqa: E731
    return jax.vmap(masked)(jnp.arange(count))

  return jax.vmap(versions)(keys, images)
