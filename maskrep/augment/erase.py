"""Random erasing, Zhong et al. 2020, arXiv:1708.04896."""

import jax
import jax.numpy as jnp

from maskrep.augment import crop
from maskrep.types import Array

AREA = (0.02, 1 / 3)  # share of the image's area, as in timm and torchvision; in the paper up to 0.4
ASPECT = (0.3, 3.3)  # width over height


def erase(key: Array, image: Array, *, probability: float) -> Array:
  """Replaces the pixels of a random box with normal noise.

  Args:
    key: one key.
    image: float32 [H, W, 3], normalised and nearly square: the first of ten boxes that fits is erased.
    probability: probability that a box is erased.

  Returns:
    float32 [H, W, 3].
  """
  if not 0 <= probability <= 1:
    raise ValueError(f'probability is {probability}: not in [0, 1]')
  drawn_key, box_key, noise_key = jax.random.split(key, 3)
  height, width = image.shape[:2]
  box = crop.random_crop_box(box_key, jnp.array([height, width]), scale=AREA, ratio=ASPECT)
  erased = crop.inside(box, height, width) & jax.random.bernoulli(drawn_key, probability)
  return jnp.where(erased[..., None], jax.random.normal(noise_key, image.shape), image)
