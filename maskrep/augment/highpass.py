"""Gaussian high-pass filter, to hide the edges of masks from a ConvNet (MSCN, arXiv:2206.07700)."""

import math

import jax
import jax.numpy as jnp

from maskrep.augment.blur import gaussian_blur
from maskrep.types import Array


def high_pass(image: Array, sigma: float) -> Array:
  """Subtracts the Gaussian blur from an image, per channel: float32 [H, W, C] -> [H, W, C], of mean near 0.

  The kernel ends at four standard deviations; borders are reflected (repeatedly, if the kernel is wider than the
  image).

  Raises:
    ValueError: sigma, in pixels, is not above 0.
  """
  if not sigma > 0:
    raise ValueError(f'sigma={sigma}: must be above 0')
  blurred = gaussian_blur(jnp.moveaxis(image, -1, 0), sigma, math.ceil(4 * sigma))
  return image - jnp.moveaxis(blurred, 0, -1)


def high_pass_images(images: Array, sigma: float) -> Array:
  """Applies `high_pass` to each image of [B, H, W, C]; with a sigma of 0 it does nothing."""
  return jax.vmap(lambda image: high_pass(image, sigma))(images) if sigma else images
