"""Vision Transformer, Dosovitskiy et al. 2021, arXiv:2010.11929, which embeds only the patches that a mask keeps."""

from typing import Annotated, ClassVar

import einops
from flax import linen as nn
import jax
import jax.numpy as jnp

from maskrep import rng
from maskrep.models.attention import pad_tokens
from maskrep.models.linear import INITIALIZERS, Linear, WeightInit, dense
from maskrep.models.norm import layer_norm
from maskrep.models.position import RESAMPLING, resampling_matrix
from maskrep.models.transformer import ALL, Block, Rate, by_block, check_heads, draw_noise, dropout, run_blocks
from maskrep.schema import Count, OneOf, Positive, check


def patchify(images: jax.Array, patch_size: int) -> jax.Array:
  """Cuts images [B, H, W, C] into patches [B, N, patch_size * patch_size * C], row by row.

  Raises:
    ValueError: the height or width is not a multiple of `patch_size`.
  """
  _, h, w, _ = images.shape
  if h % patch_size or w % patch_size:
    raise ValueError(f'image size {h}x{w} is not a multiple of patch size {patch_size}')
  return einops.rearrange(images, 'b (h p) (w q) c -> b (h w) (p q c)', p=patch_size, q=patch_size)


def embed(images, pos, keep_idx, patch_size: int, linear: Linear) -> jax.Array:
  """Embeds patches of images [B, H, W, C], or only those at keep_idx [B, K], with positions pos [N, D]: [B, K, D]."""
  patches = patchify(images, patch_size)
  if keep_idx is not None:
    patches = jnp.take_along_axis(patches, keep_idx[..., None], axis=1)
    pos = pos[keep_idx]
  return dense(patches, *linear(patches.shape[-1])) + pos


def split(tokens: jax.Array, class_token: bool) -> dict[str, jax.Array]:
  """Tokens [B, T, D] -> {'cls': [B, D], 'patches': [B, N, D]}: the first token and the rest, or the average and all."""
  if class_token:
    return {'cls': tokens[:, 0], 'patches': tokens[:, 1:]}
  return {'cls': tokens.mean(axis=1), 'patches': tokens}


class ViT(nn.Module):
  """Patches and a class token pass through pre-norm blocks and a final LayerNorm.

  Attributes:
    patch_size: side of a patch in pixels.
    width: width of a token.
    depth: number of blocks.
    heads: attention heads per block.
    mlp_ratio: hidden width of an MLP over `width`.
    image_size: side of the square images for which position embeddings are learned; for others they are resampled
      bicubically.
    resampling: the interpolation of position embeddings, 'bicubic' or 'bilinear'.
    drop_path: rate of stochastic depth at the last block, growing linearly from 0 at the first.
    dropout: dropout rate in the blocks and on their input; 0 turns it off.
    class_token: whether there is one; otherwise the average of the patches represents the image.
    weight_init: 'normal' (deviation 0.02), 'kaiming_patches' (MSN's), 'xavier' (ExtreMA's), or 'fan_in', which narrow
      encoders need.
    remat: stores only each block's input for the backward pass, and recomputes the rest.
    scan: compiles one block and loops over it; the parameter tree is unchanged.
    dtype: dtype of the computation. Parameters, norm statistics, softmax and the returned arrays are float32.
  """

  patch_size: Count
  width: Count
  depth: Count
  heads: Count
  mlp_ratio: Positive = 4.0
  image_size: Count = 224
  drop_path: Rate = 0.0
  dtype: jnp.dtype = jnp.float32
  weight_init: WeightInit = 'normal'
  remat: bool = False
  scan: bool = False
  dropout: Rate = 0.0
  class_token: bool = True
  resampling: Annotated[str, OneOf(RESAMPLING)] = 'bicubic'

  drops_patches: ClassVar[bool] = True
  batch_norm: ClassVar[bool] = False
  patches_reach_end = True

  def __post_init__(self):
    check(self)
    check_heads(self.width, self.heads)
    super().__post_init__()

  @property
  def block_names(self) -> tuple[str, ...]:
    """Names of the blocks in the parameters, from input to output."""
    return tuple(f'block{i}' for i in range(self.depth))

  @property
  def feature_layers(self) -> int:
    """The number of last blocks whose outputs `models.encoder.represent` can concatenate."""
    return self.depth

  def draw_noise(self, key: jax.Array, batch: int) -> dict[str, jax.Array] | None:
    """Draws the noise of stochastic depth and dropout, arrays [batch, ...], one row each; None if both are off."""
    return draw_noise(key, batch, self.depth, self.drop_path, self.dropout)

  @nn.compact
  def __call__(self, images, keep_idx=None, noise=None):
    """Encodes float32 images [B, H, W, 3], or only their patches at int32 keep_idx [B, K], counted row by row.

    In training, `noise` comes from `draw_noise`; without it nothing is dropped.

    Returns:
      Float32 {'cls': [B, D], 'patches': [B, N, D] or, in the order of keep_idx, [B, K, D]}. With a class token, and
      under jit, reading only one of them saves most of the last block, forwards and backwards.

    Raises:
      ValueError: the height or width is not a multiple of the patch size.
    """
    b, h, w, _ = images.shape
    grid = (h // self.patch_size, w // self.patch_size)
    side = self.image_size // self.patch_size
    native = (side, side)

    init = INITIALIZERS[self.weight_init].tokens
    slots = int(self.class_token)
    cls = self.param('cls', init, (1, 1, self.width)) if self.class_token else jnp.zeros((1, 0, self.width))
    pos = self.param('pos', init, (slots + native[0] * native[1], self.width))
    cls, pos = cls + pos[:slots], pos[slots:]
    if grid != native:
      pos = jnp.dot(resampling_matrix(grid, native, self.resampling), pos, precision='highest')

    linear = Linear(self.width, self.dtype, self.weight_init, 'embed', name='embed')
    x = embed(images, pos, keep_idx, self.patch_size, linear)
    x = jnp.concatenate([jnp.broadcast_to(cls, (b, slots, self.width)), x], axis=1).astype(self.dtype)
    noise = by_block(noise)
    if 'keys' in noise:
      x = dropout(rng.fold(noise['keys'][0], 3), x, self.dropout)
    tokens = x.shape[1]

    block = nn.remat(Block, static_argnums=2) if self.remat else Block
    *blocks, last = (
      block(self.heads, self.mlp_ratio, self.dtype, self.weight_init, dropout=self.dropout, tokens=tokens,
            name=f'block{i}')
      for i in range(self.depth))
    x = run_blocks(blocks, pad_tokens(x), noise, self.scan)
    noise = jax.tree.map(lambda a: a[-1], noise)
    norm = layer_norm(jnp.float32, 'norm')
    if not self.class_token:
      return split(norm(last(x, ALL, **noise)[:, :tokens]), class_token=False)
    # Class token and patches are computed separately in the last block, so that the unused one is dead code.
    return {
      'cls': norm(last(x, (0, 1), **noise))[:, 0],
      'patches': norm(last(x, (1, tokens), **noise)),
    }
