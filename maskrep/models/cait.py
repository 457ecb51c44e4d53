"""The encoder of ExtreMA, Wu et al. 2022, arXiv:2206.04667, section 3: a self-attention trunk, then class attention.

Class attention is CaiT's (Touvron et al. 2021, arXiv:2103.17239, section 3): only the class token is updated, by
attention to all patches, so that a block costs O(N).
"""

from typing import Annotated, ClassVar

from flax import linen as nn
import jax
import jax.numpy as jnp

from maskrep.models.attention import pad_tokens
from maskrep.models.linear import Linear, WeightInit
from maskrep.models.norm import layer_norm
from maskrep.models.position import resampling_matrix, sincos
from maskrep.models.transformer import Block, Rate, by_block, check_heads, draw_noise, run_blocks
from maskrep.models.vit import embed
from maskrep.schema import Count, OneOf, Positive, check

INSTANCE = 'class_attention', 'class_token', 'average'
POSITIONS = 'sincos', 'learned'


class CaiT(nn.Module):
  """Patches, without a class token, pass through pre-norm blocks; then a class token attends to them.

  Attributes:
    patch_size: side of a patch in pixels.
    width: width of a token.
    depth: number of blocks of the trunk.
    heads: attention heads per block.
    mlp_ratio: hidden width of an MLP over `width`.
    class_depth, layer_scale: number of class-attention blocks, and the initial value of their LayerScale.
    instance: the representation of the image: 'class_attention', as in the paper; or one of two that fail there
      (Figure 5): a 'class_token' in the trunk, as in a ViT, or the 'average' of the patches.
    drop_path: rate of stochastic depth at the trunk's last block, growing linearly from 0 at the first.
    positions, image_size: 'sincos'; or, as in CaiT, 'learned' for square images of this size, and resampled for others.
    trunk_scale, talking_heads: initial value of LayerScale in the trunk, and talking-heads attention, as in CaiT;
      ExtreMA has neither.
    weight_init: 'normal' (deviation 0.02) or 'fan_in', which narrow encoders need.
    remat: stores only each block's input for the backward pass, and recomputes the rest.
    scan: compiles one block and loops over it; the parameter tree is unchanged.
    dtype: dtype of the computation. Parameters, norm statistics, softmax and the returned arrays are float32.
  """

  patch_size: Count
  width: Count
  depth: Count
  heads: Count
  mlp_ratio: Positive = 4.0
  class_depth: Count = 2
  layer_scale: float = 0.1
  instance: Annotated[str, OneOf(INSTANCE)] = 'class_attention'
  drop_path: Rate = 0.0
  dtype: jnp.dtype = jnp.float32
  weight_init: WeightInit = 'normal'
  remat: bool = False
  scan: bool = False
  positions: Annotated[str, OneOf(POSITIONS)] = 'sincos'
  image_size: Count = 224
  trunk_scale: float = 0.0
  talking_heads: bool = False

  drops_patches: ClassVar[bool] = True
  batch_norm: ClassVar[bool] = False
  feature_layers = 1

  def __post_init__(self):
    check(self)
    check_heads(self.width, self.heads)
    if self.positions == 'sincos' and self.width % 4:
      raise ValueError(f'width={self.width}: must be a multiple of 4 for sine-cosine positions')
    super().__post_init__()

  @property
  def block_names(self) -> tuple[str, ...]:
    """Names of the blocks in the parameters, from input to output."""
    trunk = tuple(f'block{i}' for i in range(self.depth))
    if self.instance != 'class_attention':
      return trunk
    return trunk + tuple(f'class_block{i}' for i in range(self.class_depth))

  @property
  def class_token(self) -> bool:
    """True if a class token goes through the trunk."""
    return self.instance == 'class_token'

  @property
  def patches_reach_end(self) -> bool:
    """True if patches, like class tokens, pass through the last block."""
    return self.instance != 'class_attention'

  def draw_noise(self, key: jax.Array, batch: int) -> dict[str, jax.Array] | None:
    """Draws the noise of stochastic depth, arrays [batch, ...], one row per example; None if it is off."""
    return draw_noise(key, batch, self.depth, self.drop_path)

  @nn.compact
  def __call__(self, images, keep_idx=None, noise=None):
    """Encodes float32 images [B, H, W, 3], or only their patches at int32 keep_idx [B, K], counted row by row.

    In training, `noise` comes from `draw_noise`; without it nothing is dropped.

    Returns:
      Float32 {'cls': [B, D], the representation of the image; 'patches': [B, N, D] or, in the order of keep_idx,
      [B, K, D]}.

    Raises:
      ValueError: the height or width is not a multiple of the patch size.
    """
    b, h, w, _ = images.shape
    pos = self._positions((h // self.patch_size, w // self.patch_size))
    linear = Linear(self.width, self.dtype, self.weight_init, 'embed', name='embed')
    x = embed(images, pos, keep_idx, self.patch_size, linear).astype(self.dtype)

    if self.instance != 'average':
      # Small at any width: it is initially the same for all images, and LayerScale adds little to it.
      cls = self.param('cls', nn.initializers.normal(0.02), (1, 1, self.width))
      cls = jnp.broadcast_to(cls, (b, 1, self.width)).astype(self.dtype)
    if self.class_token:
      x = jnp.concatenate([cls, x], axis=1)
    tokens = x.shape[1]
    block = nn.remat(Block, static_argnums=2) if self.remat else Block
    blocks = [block(self.heads, self.mlp_ratio, self.dtype, self.weight_init, self.trunk_scale,
                    talking=self.talking_heads, tokens=tokens, name=f'block{i}') for i in range(self.depth)]
    x = run_blocks(blocks, x if self.talking_heads else pad_tokens(x), by_block(noise), self.scan)[:, :tokens]

    norm = layer_norm(jnp.float32, 'norm')
    if self.class_token:
      x = norm(x)
      return {'cls': x[:, 0], 'patches': x[:, 1:]}
    if self.instance == 'average':
      x = norm(x)
      return {'cls': x.mean(axis=1), 'patches': x}
    for i in range(self.class_depth):
      block = Block(self.heads, self.mlp_ratio, self.dtype, self.weight_init, self.layer_scale, qkv_parts=3,
                    name=f'class_block{i}')
      cls = block(jnp.concatenate([cls, x], axis=1), (0, 1))
    return {'cls': norm(cls)[:, 0], 'patches': norm(x)}

  def _positions(self, grid: tuple[int, int]) -> jax.Array:
    """Position embeddings, float32 [N, D], of a grid of patches."""
    if self.positions == 'sincos':
      return jnp.asarray(sincos(grid, self.width))
    side = self.image_size // self.patch_size
    native = (side, side)
    pos = self.param('pos', nn.initializers.normal(0.02), (native[0] * native[1], self.width))
    return pos if grid == native else jnp.dot(resampling_matrix(grid, native), pos, precision='highest')
