"""Gaussian blur of planar images."""

from jax import lax
import jax.numpy as jnp

from maskrep.types import Array


def gaussian_blur(image: Array, sigma: Array | float, half_width: int) -> Array:
  """Torchvision's `gaussian_blur` with a kernel of `2 * half_width + 1` pixels and reflected borders.

  Sums shifted copies along one axis, then along the other. At 224 pixels on a CPU this takes an eighth of the time of
  products with banded matrices, and a hundredth of the time of a convolution. On any backend it is two passes.

  Args:
    image: float32 [C, H, W].
    sigma: standard deviation in pixels, above 0; may be traced. 0.001 leaves the image unchanged, bit for bit.
    half_width: pixels of the kernel on either side of its centre.
  """
  kernel = jnp.exp(-0.5 * (jnp.arange(half_width + 1) / sigma) ** 2)
  kernel = kernel / (2 * jnp.sum(kernel) - 1)
  for axis in (1, 2):
    padding = [(half_width, half_width) if a == axis else (0, 0) for a in range(3)]
    # Without the barrier XLA recomputes the operations that produce this image for every shifted copy.
    padded = lax.optimization_barrier(jnp.pad(image, padding, mode='reflect'))
    shifted = [lax.slice_in_dim(padded, i, i + image.shape[axis], axis=axis) for i in range(2 * half_width + 1)]
    image = kernel[0] * shifted[half_width]
    for i in range(1, half_width + 1):
      image += kernel[i] * (shifted[half_width - i] + shifted[half_width + i])
  return image
