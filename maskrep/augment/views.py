"""Random views of images on padded canvases, each from a recipe and a key."""

import dataclasses
import math
from typing import Annotated

import jax
import jax.numpy as jnp

from maskrep.augment import blur, colour, crop
from maskrep.augment.randaugment import SETS, rand_augment
from maskrep.schema import (
  Colours,
  Count,
  Deviations,
  NonNegative,
  NonNegativeInt,
  OneOf,
  Probability,
  Rising,
  Scale,
  check,
)
from maskrep.types import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
  """The recipe of a view: a random crop, then colours. An operation of probability 0 costs nothing.

  Attributes:
    size: side in pixels.
    crop_scale: smallest and largest share of the image's area that a crop covers.
    crop_ratio: smallest and largest width over height of a crop.
    center_fraction: share of the shorter side that the central square covers; 0 is a random crop instead.
    squash: whether the complete image is resized to a square, without cropping.
    flip: probability of a horizontal flip.
    jitter: probability of colour jitter.
    jitter_strength: strength of the jitter of brightness, contrast, saturation and hue.
    grey: probability of greyscale.
    blur: probability of Gaussian blur.
    blur_sigma: smallest and largest standard deviation of the blur, in pixels of the view.
    solarise: probability of solarisation.
    rand_layers: number of operations of RandAugment, which come last; 0 is none.
    rand_operations: the set of these operations, one of `randaugment.SETS`.
    rand_magnitude: the magnitude of these operations.
    rand_deviation: standard deviation of that magnitude.
    mean, std: mean and standard deviation of each channel, with which pixels in [0, 1] are normalised.
  """

  size: Count
  crop_scale: Scale
  crop_ratio: Annotated[tuple[float, float], Rising(math.inf, '(0.75, 1.33)')] = (3 / 4, 4 / 3)
  center_fraction: Probability = 0.0
  squash: bool = False
  flip: Probability
  jitter: Probability
  jitter_strength: tuple[float, float, float, float]
  grey: Probability
  blur: Probability
  blur_sigma: Annotated[tuple[float, float], Rising(math.inf, '(0.1, 2.0)')] = (0.1, 2.0)
  solarise: Probability
  rand_layers: NonNegativeInt = 0
  rand_operations: Annotated[str, OneOf(SETS)] = 'increasing'
  rand_magnitude: NonNegative = 0.0
  rand_deviation: NonNegative = 0.0
  mean: Colours
  std: Deviations

  __post_init__ = check


def draw_crop(key: Array, size: Array, recipe: View) -> tuple[Array, Array]:
  """Draws the box of a random resized crop, float32 [4], or takes the centre or the whole; and draws the flip, bool."""
  box_key, flip_key = jax.random.split(key)
  if recipe.squash:
    box = jnp.concatenate([jnp.zeros(2), size])
  elif recipe.center_fraction:
    box = crop.center_crop_box(size, recipe.size, recipe.center_fraction)
  else:
    box = crop.random_crop_box(box_key, size, scale=recipe.crop_scale, ratio=recipe.crop_ratio)
  return box, jax.random.uniform(flip_key) < recipe.flip


def crop_view(key: Array, canvas: Array, size: Array, recipe: View) -> Array:
  """Crop and flip: uint8 [S, S, 3] and int32 [2] -> float32 [3, size, size] in [0, 1]."""
  box, flip = draw_crop(key, size, recipe)
  within = jnp.concatenate([jnp.zeros(2), size]) if recipe.center_fraction else box
  return crop.resample(canvas, box, recipe.size, flip=flip, within=within)


def colour_view(key: Array, image: Array, recipe: View) -> Array:
  """Jitter, greyscale, blur and solarisation: float32 [3, H, W] in [0, 1] -> the same shape."""
  draw_key, jitter_key = jax.random.split(key)
  jittered, grey, blurred, solarised, width = jax.random.uniform(draw_key, (5,))
  # If jitter or blur is not drawn, its parameters are neutral: selecting images would make XLA compute them twice.
  if recipe.jitter > 0:
    image = colour.jitter(jitter_key, image, jnp.where(jittered < recipe.jitter, jnp.array(recipe.jitter_strength), 0))
  if recipe.grey > 0:
    image = jnp.where(grey < recipe.grey, colour.greyscale(image), image)
  if recipe.blur > 0:
    low, high = recipe.blur_sigma
    sigma = jnp.where(blurred < recipe.blur, low + (high - low) * width, 1e-3)
    # Beyond four standard deviations the kernel is below the resolution of 8 bits.
    image = blur.gaussian_blur(image, sigma, math.ceil(4 * high))
  if recipe.solarise > 0:
    image = jnp.where(solarised < recipe.solarise, colour.solarise(image), image)
  return image


def normalise(image: Array, mean: tuple[float, ...], std: tuple[float, ...]) -> Array:
  """Normalises each channel by its mean and standard deviation: float32 [3, H, W] -> [H, W, 3]."""
  return (jnp.moveaxis(image, 0, -1) - jnp.array(mean)) / jnp.array(std)


def make_view(key: Array, canvas: Array, size: Array, recipe: View) -> Array:
  """Makes one view of one image: uint8 [S, S, 3] and int32 [2] -> float32 [size, size, 3], normalised."""
  crop_key, colour_key = jax.random.split(key)
  return make_view_of(crop_key, colour_key, canvas, size, recipe)


def make_view_of(
  crop_key: Array, colour_key: Array, canvas: Array, size: Array, recipe: View, blur_key: Array | None = None
) -> Array:
  """Like `make_view`, with separate keys for crop and flip and for colours, so that views can share one of them.

  With `blur_key`, blur and solarisation are those of a view with this colour key; jitter and greyscale are not.
  """
  image = crop_view(crop_key, canvas, size, recipe)
  if blur_key is None:
    image = colour_view(colour_key, image, recipe)
  else:
    image = colour_view(colour_key, image, dataclasses.replace(recipe, blur=0.0, solarise=0.0))
    image = colour_view(blur_key, image, dataclasses.replace(recipe, jitter=0.0, grey=0.0))
  if recipe.rand_layers:
    image = rand_augment(
      jax.random.fold_in(colour_key, 2), image, operations=recipe.rand_operations, layers=recipe.rand_layers,
      magnitude=recipe.rand_magnitude, deviation=recipe.rand_deviation, mean=recipe.mean)
  return normalise(image, recipe.mean, recipe.std)


def make_views(keys: Array, canvases: Array, sizes: Array, recipe: View, count: int) -> Array:
  """Makes `count` independent views of every image of a batch.

  Args:
    keys: [B], one per example.
    canvases: uint8 [B, S, S, 3].
    sizes: int32 [B, 2].
    recipe: recipe of each view.
    count: number of views per image.

  Returns:
    float32 [B, count, size, size, 3]: `[b, i]` is `make_view(fold_in(keys[b], i), canvases[b], sizes[b], recipe)`.
  """

  def ith(i):
    return jax.vmap(lambda key, canvas, size: make_view(jax.random.fold_in(key, i), canvas, size, recipe))(
      keys, canvases, sizes)

  # One view at a time limits the memory needed at once. The batch axis may be sharded, so the loop runs over the views.
  return jnp.moveaxis(jax.lax.map(ith, jnp.arange(count)), 0, 1)


def make_recoloured_views(
  shared_keys: Array, keys: Array, canvases: Array, sizes: Array, recipe: View, count: int
) -> Array:
  """Makes `count` views that share crop, flip, blur and solarisation, but have their own jitter and greyscale.

  Args:
    shared_keys: [B]: everything shared is as in `make_view(shared_keys[b], ...)`.
    keys: [B]: jitter and greyscale of view i are those of `make_view(fold_in(keys[b], i), ...)`.
    canvases, sizes, recipe, count: as in `make_views`.

  Returns:
    float32 [B, count, size, size, 3].
  """

  def one(shared_key, key, canvas, size):
    (crop_key, blur_key), (_, colour_key) = jax.random.split(shared_key), jax.random.split(key)
    return make_view_of(crop_key, colour_key, canvas, size, recipe, blur_key)

  def ith(i):
    return jax.vmap(one)(shared_keys, jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, i), canvases, sizes)

  return jnp.moveaxis(jax.lax.map(ith, jnp.arange(count)), 0, 1)


def eval_views(
  canvases: Array, sizes: Array, *, size: int, crop_fraction: float, mean: tuple[float, ...], std: tuple[float, ...],
  squash: bool = False,
) -> Array:
  """uint8 [B, S, S, 3], int32 [B, 2] -> normalised float32 [B, size, size, 3]: centres or, squashed, full images."""

  def box(true_size):
    image = jnp.concatenate([jnp.zeros(2), true_size])
    return image if squash else crop.center_crop_box(true_size, size, crop_fraction)

  return box_views(canvases, sizes, jax.vmap(box)(sizes), size=size, mean=mean, std=std)


def box_views(
  canvases: Array, sizes: Array, boxes: Array, *, size: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> Array:
  """Like `eval_views`, of the box [B, 4] of each image (top, left, height, width), cut after resizing."""

  def one(canvas, true_size, box):
    within = jnp.concatenate([jnp.zeros(2), true_size])
    return normalise(crop.resample(canvas, box, size, flip=False, within=within), mean, std)

  return jax.vmap(one)(canvases, sizes, boxes)
