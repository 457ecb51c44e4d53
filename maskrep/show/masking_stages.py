"""The stages of masking an image for a ConvNet (MSCN, arXiv:2206.07700)."""

from collections.abc import Mapping
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from maskrep import rng
from maskrep.augment.highpass import high_pass_images
from maskrep.masking.pixels import PixelMask, mask_image
from maskrep.types import AnyArray, Array, Objective

CAPTIONS = 'original', 'high-pass', 'grid mask', 'focal mask', 'grid, by channel', 'grid, by channel, noise'


def stages(key: Array, image: Array, recipe: PixelMask, sigma: float) -> dict[str, Array]:
  """Caption -> float32 image [H, W, 3]: the stages of masking a normalised image.

  A sigma of 0 filters nothing, and that stage is left out.
  """
  filtered = high_pass_images(image[None], sigma)[0]

  def masked(**changes):
    return mask_image(key, filtered, dataclasses.replace(recipe, **changes))[0]

  panels = (image, filtered, masked(focal=0.0, channelwise=0.0, noise_std=0.0),
            masked(focal=1.0, channelwise=0.0, noise_std=0.0), masked(focal=0.0, channelwise=1.0, noise_std=0.0),
            masked(focal=0.0, channelwise=1.0))
  return {caption: panel for caption, panel in zip(CAPTIONS, panels, strict=True) if sigma or caption != 'high-pass'}


def columns(objective: Objective, batch: Mapping[str, AnyArray], seed: int) -> dict[str, np.ndarray]:
  """Caption -> images, float32 [B, H, W, 3] in [0, 1], with the first recipe of a pixel mask that the objective has.

  Filtered images, whose mean is 0, are shown around grey. Empty if the objective masks no pixels.
  """
  recipe = next((each for each in vars(objective).values() if isinstance(each, PixelMask)), None)
  if recipe is None:
    return {}
  preprocessing = objective.preprocessing
  sigma = preprocessing.high_pass_sigma
  images = dataclasses.replace(preprocessing, high_pass_sigma=0.0)(batch['image'], batch['size'])
  keys = jax.random.split(rng.stream(seed, 'views'), len(images))
  drawn = jax.jit(jax.vmap(lambda key, image: stages(key, image, recipe, sigma)))(keys, images)
  grey = {name: preprocessing.mean if name == 'original' or not sigma else (0.5,) * 3 for name in drawn}
  return {name: np.asarray(drawn[name] * jnp.array(preprocessing.std) + jnp.array(grey[name]))
          for name in CAPTIONS if name in drawn}  # jax sorts the names
