"""Random views of images together with their label maps."""

import jax
import jax.numpy as jnp

from maskrep.augment import crop
from maskrep.augment.views import View, colour_view, draw_crop, make_view_of, normalise
from maskrep.data.label_maps import NONE
from maskrep.types import Array


def make_view_and_map(key: Array, canvas: Array, label_map: Array, size: Array, recipe: View) -> tuple[Array, Array]:
  """Like `make_view`, with the same crop and flip of the label map, uint8 [S, S] -> [size, size]."""
  crop_key, colour_key = jax.random.split(key)
  box, flip = draw_crop(crop_key, size, recipe)
  image = make_view_of(crop_key, colour_key, canvas, size, recipe)
  return image, crop.nearest(label_map, box, recipe.size, flip=flip)


def make_rescaled_view_and_map(
  key: Array, canvas: Array, label_map: Array, size: Array, recipe: View, scales: tuple[float, float]
) -> tuple[Array, Array]:
  """Like `make_view_and_map`, of a square of an image whose shorter side has been resized to a multiple of `size`.

  The multiple is uniform in `scales`, the place of the square too. The rest of a square that is larger than the image,
  to the right of it and below, is 0 after normalisation and of no class.
  """
  box_key, flip_key, colour_key = jax.random.split(key, 3)
  scale, *place = jax.random.uniform(box_key, (3,))
  side = jnp.round(jnp.min(size) / (scales[0] + (scales[1] - scales[0]) * scale))
  corner = jnp.floor(jnp.stack(place) * (jnp.maximum(size - side, 0) + 1))
  box, flip = jnp.concatenate([corner, side[None], side[None]]), jax.random.uniform(flip_key) < recipe.flip

  rows, columns = (box[i] + (jnp.arange(recipe.size) + 0.5) * side / recipe.size < size[i] for i in range(2))
  inside = rows[:, None] & jnp.where(flip, columns[::-1], columns)
  whole = jnp.concatenate([jnp.zeros(2), size])
  image = crop.resample(canvas, box, recipe.size, flip=flip, within=whole)
  # Beyond the canvas there is no pixel, and its weighted mean is not a number.
  image = jnp.where(inside, image, jnp.array(recipe.mean)[:, None, None])
  image = normalise(colour_view(colour_key, image, recipe), recipe.mean, recipe.std)
  classes = crop.nearest(label_map, box, recipe.size, flip=flip)
  return jnp.where(inside[..., None], image, 0), jnp.where(inside, classes, NONE)
