"""Decoders of segmentation: a linear layer on the patches, and UperNet on a pyramid of four blocks of a ViT.

Shapes: a level is a map of patches [B, h, w, D]. A decoder returns a map of logits for each of its `weights`, which are
those of the losses: the first map is its prediction, the others belong to auxiliary heads.
"""

from typing import Annotated, ClassVar

from flax import linen as nn
import jax
import jax.numpy as jnp

from maskrep import rng
from maskrep.models.norm import BatchNorm
from maskrep.models.transformer import Rate, dropout, gelu
from maskrep.schema import Count, NonNegative, Range, check_module

LEVELS = 4
Block = Annotated[int, Range(1, example='4')]

HE = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')
PYTORCH = nn.initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')  # its own, of a transposed convolution


class LinearDecoder(nn.Module):
  """A linear layer: the patches of the encoder's output -> float32 [B, h, w, classes].

  Attributes:
    classes: number of classes.
  """

  classes: int

  weights: ClassVar[tuple[float, ...]] = (1.0,)

  @nn.compact
  def __call__(self, levels, *, train: bool = False, keys=None):
    patches, = levels
    kernel = self.param('kernel', nn.initializers.normal(0.02), (patches.shape[-1], self.classes))
    bias = self.param('bias', nn.initializers.zeros, self.classes)
    return (patches @ kernel + bias,)


class UperNet(nn.Module):
  """UperNet, Xiao et al. 2018, arXiv:1807.10221, on a plain ViT, as BEiT does it (arXiv:2106.08254, section 3.2).

  Patches after four blocks, [B, h, w, D], are rescaled by 4, 2, 1 and 1/2. The coarsest level goes through pyramid
  pooling (arXiv:1612.01105), a feature pyramid (arXiv:1612.03144) adds each level to the next finer one, and all levels
  together give float32 logits [B, 4h, 4w, classes]. The auxiliary head, of one convolution (FCN, arXiv:1411.4038), is
  on the third level: [B, h, w, classes].

  Attributes:
    blocks: numbers of the four blocks, from 1, in rising order.
    channels: channels of pyramid pooling and feature pyramid.
    pool_sizes: sides of the grids of pyramid pooling.
    auxiliary_channels, auxiliary_weight: channels of the auxiliary head, and the weight of its loss.
    dropout: rate at which channels are dropped before both classifiers.
    dtype: dtype of the convolutions.
    classes: number of classes.
  """

  blocks: tuple[Block, Block, Block, Block]
  channels: Count
  pool_sizes: tuple[Count, ...]
  auxiliary_channels: Count
  auxiliary_weight: NonNegative
  dropout: Rate
  dtype: jnp.dtype = jnp.float32
  classes: int = 0

  def __post_init__(self):
    check_module(self)
    if list(self.blocks) != sorted(self.blocks):
      raise ValueError(f'blocks={self.blocks}: must be in rising order, for example (4, 6, 8, 12)')
    if len(set(self.pool_sizes)) < len(self.pool_sizes):
      raise ValueError(f'pool_sizes={self.pool_sizes}: must have no duplicates')

  @property
  def weights(self) -> tuple[float, ...]:
    return 1.0, self.auxiliary_weight

  @nn.compact
  def __call__(self, levels, *, train: bool = False, keys=None):
    """With `train`, batch statistics normalise and move the running ones; `keys` [B] draw the dropout."""
    levels = Rescaled(self.dtype, name='pyramid')([level.astype(self.dtype) for level in levels], train)
    fused = self._fused(levels, train)
    auxiliary = ConvNorm(self.auxiliary_channels, 3, self.dtype, name='auxiliary')(levels[2], train)
    found = []
    for i, (x, name) in enumerate(((fused, 'classifier'), (auxiliary, 'auxiliary_classifier'))):
      if keys is not None:
        x *= dropout(rng.fold(keys, i), jnp.ones((len(x), 1, 1, x.shape[-1]), x.dtype), self.dropout)
      classify = nn.Conv(self.classes, (1, 1), dtype=self.dtype, kernel_init=nn.initializers.normal(0.01), name=name)
      found.append(classify(x).astype(jnp.float32))
    return tuple(found)

  def _fused(self, levels, train):
    """Levels of rising coarseness -> [B, h, w, channels] of the finest."""

    def conv(x, kernel, name):
      return ConvNorm(self.channels, kernel, self.dtype, name=name)(x, train)

    coarsest = levels[-1]
    pooled = [conv(adaptive_average(coarsest, size), 1, f'pool{size}') for size in self.pool_sizes]
    context = [coarsest, *(enlarged(x, coarsest) for x in pooled)]
    merged = [conv(x, 1, f'lateral{i}') for i, x in enumerate(levels[:-1], 1)]
    merged.append(conv(jnp.concatenate(context, axis=-1), 3, 'pooled'))
    for i in reversed(range(LEVELS - 1)):
      merged[i] += enlarged(merged[i + 1], merged[i])
    fused = [*(conv(x, 3, f'output{i}') for i, x in enumerate(merged[:-1], 1)), merged[-1]]
    return conv(jnp.concatenate([enlarged(x, fused[0]) for x in fused], axis=-1), 3, 'fusion')


class Rescaled(nn.Module):
  """Four levels [B, h, w, D], rescaled by 4, 2, 1 and 1/2: by transposed convolutions, not at all, and by maxima."""

  dtype: jnp.dtype

  @nn.compact
  def __call__(self, levels, train: bool):
    def doubled(x, name):
      return nn.ConvTranspose(x.shape[-1], (2, 2), (2, 2), dtype=self.dtype, kernel_init=PYTORCH, name=name)(x)

    first, second, third, fourth = levels
    first = BatchNorm(name='norm')(doubled(first, 'up1a'), train=train)
    return [doubled(gelu(first).astype(self.dtype), 'up1b'), doubled(second, 'up2'), third,
            nn.max_pool(fourth, (2, 2), (2, 2))]


class ConvNorm(nn.Module):
  """A convolution of odd width `kernel`, batch norm and ReLU: [B, h, w, D] -> [B, h, w, channels]."""

  channels: int
  kernel: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x, train: bool):
    x = nn.Conv(self.channels, (self.kernel,) * 2, use_bias=False, dtype=self.dtype, kernel_init=HE, name='conv')(x)
    return nn.relu(BatchNorm(name='norm')(x, train=train)).astype(self.dtype)


def adaptive_average(x: jax.Array, size: int) -> jax.Array:
  """Means over a grid of size x size windows, which overlap if `size` does not divide the sides: [B, size, size, D]."""

  def windows(length):
    cell, place = jnp.arange(size)[:, None], jnp.arange(length)
    inside = (place >= cell * length // size) & (place < -(-(cell + 1) * length // size))
    return inside / inside.sum(1, keepdims=True)

  _, h, w, _ = x.shape
  return jnp.einsum('ih,jw,bhwd->bijd', windows(h), windows(w), x.astype(jnp.float32)).astype(x.dtype)


def enlarged(x: jax.Array, like: jax.Array) -> jax.Array:
  """Linear interpolation to the height and width of another map; corners are not aligned."""
  return jax.image.resize(x, (*x.shape[:1], *like.shape[1:3], x.shape[-1]), 'linear')
