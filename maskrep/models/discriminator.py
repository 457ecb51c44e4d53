"""A patch discriminator after Isola et al. 2017, arXiv:1611.07004: one logit per patch of an image."""

from flax import linen as nn
import jax.numpy as jnp

from maskrep.models.vqgan import group_norm
from maskrep.schema import Count, check


class PatchDiscriminator(nn.Module):
  """float [B, H, W, 3] in [0, 1] -> float32 logits [B, H / 2^layers, W / 2^layers], rounded up.

  Strided 4x4 convolutions, each twice as wide as the one before, and leaky ReLU. Group norm replaces the paper's batch
  norm, so that images are independent; zero padding leaves at least one logit for a small image.

  Attributes:
    width: channels of the first layer.
    layers: number of strided convolutions.
    groups: groups of the group norms; must divide `width`.
    dtype: dtype of the computation.
  """

  width: Count
  layers: Count = 3
  groups: Count = 32
  dtype: jnp.dtype = jnp.float32

  def __post_init__(self):
    check(self)
    if self.width % self.groups and self.layers > 1:
      raise ValueError(f'groups={self.groups}: must divide width={self.width}')
    super().__post_init__()

  @nn.compact
  def __call__(self, images):
    x = 2 * images - 1
    for i in range(self.layers):
      x = nn.Conv(self.width * 2**i, (4, 4), strides=2, dtype=self.dtype, name=f'conv{i}')(x)
      if i:
        x = group_norm(self.groups, self.dtype, f'norm{i}')(x)
      x = nn.leaky_relu(x, 0.2)
    return nn.Conv(1, (4, 4), dtype=self.dtype, name='conv_out')(x)[..., 0].astype(jnp.float32)
