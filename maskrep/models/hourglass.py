"""The hour-glass network of the deep image prior, Ulyanov et al. 2018, arXiv:1711.10925."""

import math

from flax import linen as nn
import jax
import jax.numpy as jnp

CHANNELS = 16, 32, 64, 128, 128  # from the finest to the coarsest level
SKIP = 4  # channels that pass each level by
NOISE = 32  # channels of the input


def levels(side: int) -> int:
  """The number of levels for square images of this side in pixels: the coarsest level has at least 4 of them."""
  return min(len(CHANNELS), max(1, int(math.log2(side)) - 2))


def neighbours(x: jax.Array, stride: int = 1) -> jax.Array:
  """The 3 x 3 pixels around every, or every second, pixel of [H, W, C], reflected at the edges: [h, w, 9 C].

  A convolution is then one matrix product, also if each example has kernels of its own.
  """
  h, w, _ = x.shape
  x = jnp.pad(x, ((1, 1), (1, 1), (0, 0)), mode='reflect')
  return jnp.concatenate([x[i:i + h:stride, j:j + w:stride] for i in range(3) for j in range(3)], axis=-1)


class HourGlass(nn.Module):
  """Noise [H, W, NOISE] -> one image [H, W, 3] in (0, 1).

  Each level halves the image by a convolution of stride 2 and a second one, goes through the coarser levels, enlarges
  the result bilinearly, and joins it with a narrow skip connection. Norms are over the pixels of the one image.

  Attributes:
    depth: the number of levels, at most that of CHANNELS.
  """

  depth: int

  @nn.compact
  def __call__(self, noise):
    x = self._level(noise, 0)
    return nn.sigmoid(nn.Dense(3, name='out')(x))

  def _level(self, x, level):
    channels = CHANNELS[level]

    def convolved(x, name, width=channels):
      return nn.leaky_relu(norm(nn.Dense(width, name=f'{name}{level}')(x), f'{name}_norm{level}'), 0.2)

    def norm(x, name):
      return nn.LayerNorm(reduction_axes=(0, 1), feature_axes=-1, epsilon=1e-5, name=name)(x)

    skip = convolved(x, 'skip', SKIP)
    deeper = convolved(neighbours(convolved(neighbours(x, 2), 'halve')), 'down')
    if level + 1 < self.depth:
      deeper = self._level(deeper, level + 1)
    deeper = jax.image.resize(deeper, (*x.shape[:2], deeper.shape[-1]), 'bilinear')
    joined = norm(jnp.concatenate([skip, deeper], axis=-1), f'join_norm{level}')
    return convolved(convolved(neighbours(joined), 'up'), 'mix')
