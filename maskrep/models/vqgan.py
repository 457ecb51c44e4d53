"""VQGAN, Esser et al. 2021, arXiv:2012.09841: images to grids of codes of a learned codebook, and back.

Two published designs, each with weights: the authors' ('taming') and MaskGIT's ('maskgit', Chang et al. 2022,
arXiv:2202.04200). Shapes: images [B, H, W, 3], grids of h x w tokens, E the width of a code, P the number of codes.
"""

import functools
from typing import Annotated, NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp

from maskrep.models.attention import attend
from maskrep.schema import Count, NonNegativeInt, OneOf, check

DESIGNS = 'taming', 'maskgit'
# Fields of a small VQGAN for tests: 16 pixels to 4 x 4 tokens.
TINY = dict(channels=8, multipliers=(1, 2, 4), encoder_blocks=1, decoder_blocks=1, embedding=8, codebook_size=16,
            input_range=(0.0, 1.0), design='maskgit', attention_levels=(), groups=4)


def code_scores(z: jax.Array, codebook: jax.Array) -> jax.Array:
  """-|z - e|^2 for every code e, up to the term |z|^2 common to all codes: [..., E], [P, E] -> float32 [..., P].

  That term is large relative to the differences between codes; without it less precision is lost.
  """
  z, codebook = z.astype(jnp.float32), codebook.astype(jnp.float32)
  products = jnp.matmul(z, codebook.T, precision=jax.lax.Precision.HIGHEST)
  return 2 * products - jnp.sum(codebook**2, axis=-1)


def straight_through(z: jax.Array, codes: jax.Array) -> jax.Array:
  """The value of `codes` with the gradient of z (van den Oord et al. 2017, section 3.2): [..., E] twice -> [..., E]."""
  return z + jax.lax.stop_gradient(codes - z)


def group_norm(groups: int, dtype: jnp.dtype, name: str) -> nn.GroupNorm:
  return nn.GroupNorm(groups, epsilon=1e-6, use_fast_variance=False, dtype=dtype, name=name)


def upsample(x: jax.Array) -> jax.Array:
  """Repeats each pixel as 2 x 2: [B, H, W, C] -> [B, 2H, 2W, C]."""
  return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


class ResidualBlock(nn.Module):
  """Residual block of norm, swish and convolution, twice: [B, H, W, C] -> [B, H, W, features].

  If the width changes, the shortcut is a 1x1 convolution of the input or, in MaskGIT's code (and thus its weights), of
  the residual branch: f(x) + shortcut(f(x)). MaskGIT's convolutions have no bias.
  """

  features: int
  design: str
  groups: int
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x):
    conv = functools.partial(nn.Conv, self.features, use_bias=self.design == 'taming', dtype=self.dtype)
    y = conv((3, 3), name='conv1')(nn.swish(group_norm(self.groups, self.dtype, 'norm1')(x)))
    y = conv((3, 3), name='conv2')(nn.swish(group_norm(self.groups, self.dtype, 'norm2')(y)))
    if x.shape[-1] != self.features:
      x = conv((1, 1), name='shortcut')(x if self.design == 'taming' else y)
    return x + y


class AttentionBlock(nn.Module):
  """Residual block of norm and single-head attention over all positions: [B, H, W, C] -> the same shape."""

  groups: int
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x):
    b, h, w, c = x.shape
    y = group_norm(self.groups, self.dtype, 'norm')(x)
    q, k, v = (nn.Conv(c, (1, 1), dtype=self.dtype, name=name)(y).reshape(b, h * w, 1, c) for name in 'qkv')
    return x + nn.Conv(c, (1, 1), dtype=self.dtype, name='proj')(attend(q, k, v).reshape(b, h, w, c))


class Shape(NamedTuple):
  """Architecture shared by encoder and decoder; attributes as in `VQGAN`."""

  channels: int
  multipliers: tuple[int, ...]
  attention_levels: tuple[int, ...]
  design: str
  groups: int
  dtype: jnp.dtype

  def residual(self, x, features, name):
    return ResidualBlock(features, self.design, self.groups, self.dtype, name=name)(x)

  def attention(self, x, name):
    return AttentionBlock(self.groups, self.dtype, name=name)(x)

  def level(self, x, i, blocks):
    for j in range(blocks):
      x = self.residual(x, self.channels * self.multipliers[i], f'level{i}_block{j}')
      if i in self.attention_levels:
        x = self.attention(x, f'level{i}_attention{j}')
    return x

  def middle(self, x, blocks):
    if self.design == 'taming':
      x = self.residual(x, x.shape[-1], 'middle_block0')
      return self.residual(self.attention(x, 'middle_attention'), x.shape[-1], 'middle_block1')
    for j in range(blocks):
      x = self.residual(x, x.shape[-1], f'middle_block{j}')
    return x

  def out(self, x, features, kernel):
    x = nn.swish(group_norm(self.groups, self.dtype, 'norm_out')(x))
    return nn.Conv(features, (kernel, kernel), dtype=self.dtype, name='conv_out')(x)


class VQGANEncoder(nn.Module):
  """Images [B, H, W, 3] -> [B, h, w, output], with `blocks` residual blocks per level."""

  shape: Shape
  blocks: int
  output: int

  @nn.compact
  def __call__(self, x):
    shape, dtype = self.shape, self.shape.dtype
    taming, last = shape.design == 'taming', len(shape.multipliers) - 1
    x = nn.Conv(shape.channels, (3, 3), use_bias=taming, dtype=dtype, name='conv_in')(x)
    for i in range(last + 1):
      x = shape.level(x, i, self.blocks)
      if i < last and taming:
        after = (0, 1), (0, 1)
        x = nn.Conv(x.shape[-1], (3, 3), strides=2, padding=after, dtype=dtype, name=f'level{i}_down')(x)
      elif i < last:
        x = nn.avg_pool(x, (2, 2), (2, 2))
    return shape.out(shape.middle(x, self.blocks), self.output, 3 if taming else 1)


class VQGANDecoder(nn.Module):
  """Grids [B, h, w, E] -> images [B, H, W, output]. Levels are numbered as in the encoder: level 0 is the largest."""

  shape: Shape
  blocks: int
  output: int

  @nn.compact
  def __call__(self, x):
    shape, dtype = self.shape, self.shape.dtype
    x = nn.Conv(shape.channels * shape.multipliers[-1], (3, 3), dtype=dtype, name='conv_in')(x)
    x = shape.middle(x, self.blocks)
    for i in reversed(range(len(shape.multipliers))):
      x = shape.level(x, i, self.blocks)
      if i:
        x = nn.Conv(x.shape[-1], (3, 3), dtype=dtype, name=f'level{i}_up')(upsample(x))
    return shape.out(x, self.output, 3)


class VQGAN(nn.Module):
  """A tokenizer: encoder, codebook, decoder. Public methods can be called by `apply(..., method=)`.

  Attributes:
    channels, multipliers: level i has channels * multipliers[i] channels; each level but the last halves the image.
    encoder_blocks, decoder_blocks: residual blocks per level.
    embedding, codebook_size: E and P.
    input_range: range of pixels inside encoder and decoder; images outside this module are in [0, 1].
    design: 'taming' or 'maskgit', see `DESIGNS`. The former has attention, biases everywhere, strided convolutions,
      and 1x1 convolutions on either side of the codebook.
    attention_levels: levels whose residual blocks are followed by attention ('taming' only; its middle always has one).
    groups: groups of the group norms; must divide the channels of each level.
    dtype: dtype of the computation. Parameters, z, scores of codes and images are float32.
  """

  channels: Count
  multipliers: tuple[Count, ...]
  encoder_blocks: Count
  decoder_blocks: Count
  embedding: Count
  codebook_size: Count
  input_range: tuple[float, float]
  design: Annotated[str, OneOf(DESIGNS)]
  attention_levels: tuple[NonNegativeInt, ...] = ()
  groups: Count = 32
  dtype: jnp.dtype = jnp.float32

  def __post_init__(self):
    check(self)
    low, high = self.input_range
    if not -float('inf') < low < high < float('inf'):
      raise ValueError(f'input_range={low, high}: must be finite and rising, for example (0.0, 1.0)')
    if not self.multipliers:
      raise ValueError('multipliers=(): must have at least one level, for example (1, 2)')
    if max(self.attention_levels, default=0) >= len(self.multipliers):
      raise ValueError(f'attention_levels={self.attention_levels}: there are levels 0 to {len(self.multipliers) - 1}')
    if any(self.channels * multiplier % self.groups for multiplier in self.multipliers):
      raise ValueError(f'multipliers={self.multipliers}: times channels={self.channels} they must be multiples of '
                       f'groups={self.groups}')
    if self.attention_levels and self.design != 'taming':
      raise ValueError(f'attention_levels={self.attention_levels}: {self.design!r} has no attention; set it to ()')
    super().__post_init__()

  def setup(self):
    shape = Shape(self.channels, self.multipliers, self.attention_levels, self.design, self.groups, self.dtype)
    self.encoder = VQGANEncoder(shape, self.encoder_blocks, self.embedding)
    self.decoder = VQGANDecoder(shape, self.decoder_blocks, 3)
    if self.design == 'taming':
      self.quant_conv = nn.Conv(self.embedding, (1, 1), dtype=self.dtype)
      self.post_quant_conv = nn.Conv(self.embedding, (1, 1), dtype=self.dtype)
    init = nn.initializers.variance_scaling(1.0, 'fan_in', 'uniform')
    self.codebook = self.param('codebook', init, (self.codebook_size, self.embedding))

  @property
  def stride(self) -> int:
    """Side in pixels of the square that a token represents."""
    return 2 ** (len(self.multipliers) - 1)

  def encode(self, images):
    """float32 [B, H, W, 3] in [0, 1] -> float32 [B, h, w, E], not yet quantised.

    Raises:
      ValueError: the height or width is not a multiple of the stride.
    """
    _, h, w, _ = images.shape
    if h % self.stride or w % self.stride:
      raise ValueError(f'image size {h}x{w} is not a multiple of the stride {self.stride}')
    low, high = self.input_range
    z = self.encoder(low + (high - low) * images)
    return (self.quant_conv(z) if self.design == 'taming' else z).astype(jnp.float32)

  def quantise(self, z):
    """[B, h, w, E] -> the nearest codes, float32 [B, h, w, E] with z's gradient, and their indices, int32 [B, h, w]."""
    ids = jnp.argmax(code_scores(z, self.codebook), axis=-1).astype(jnp.int32)
    return straight_through(z.astype(jnp.float32), self.codebook[ids]), ids

  def ids(self, images):
    """float32 [B, H, W, 3] in [0, 1] -> int32 [B, h, w] in 0 ... P - 1."""
    return self.quantise(self.encode(images))[1]

  def decode(self, tokens):
    """Codes [B, h, w, E], or their indices [B, h, w] -> float32 [B, H, W, 3], near [0, 1] but not clipped."""
    x = self.codebook[tokens] if jnp.issubdtype(tokens.dtype, jnp.integer) else tokens
    x = self.decoder(self.post_quant_conv(x) if self.design == 'taming' else x)
    low, high = self.input_range
    return (x.astype(jnp.float32) - low) / (high - low)

  def __call__(self, images):
    """Reconstructs images, float32 [B, H, W, 3] in [0, 1] -> the same shape."""
    return self.decode(self.quantise(self.encode(images))[0])
