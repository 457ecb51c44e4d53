"""The decoder of masked image modelling, which is discarded after pre-training."""

from flax import linen as nn
import jax
import jax.numpy as jnp

from maskrep.models.attention import pad_tokens
from maskrep.models.linear import INITIALIZERS, Linear, WeightInit, dense
from maskrep.models.norm import layer_norm
from maskrep.models.transformer import Block, check_heads, run_blocks
from maskrep.schema import Count, Positive, check


def restore_order(visible: jax.Array, fill: jax.Array, keep_idx: jax.Array, patches: int) -> jax.Array:
  """Puts visible patches [B, K, D] back at positions keep_idx [B, K], and `fill` [B, D] at all others: [B, N, D]."""
  at = keep_idx[:, None] == jnp.arange(patches)[:, None]
  # Dropped positions gather row 0 with gradient 0: a GPU sums the gradients of colliding rows in no fixed order.
  gathered = jnp.take_along_axis(visible, at.argmax(-1)[..., None], axis=1)
  return jnp.where(at.any(-1)[..., None], gathered, fill[:, None])


class TokenDecoder(nn.Module):
  """A shallow transformer over all patches (Chen et al. 2023, section 3).

  Attributes:
    patches, output: number of patches, and number of outputs per patch: logits of tokens or values of pixels.
    width: width of a token.
    depth: number of blocks.
    heads: attention heads per block.
    mlp_ratio: hidden width of an MLP over `width`.
    dtype: dtype of the computation. Parameters and the returned array are float32.
  """

  patches: Count
  output: Count
  width: Count
  depth: Count
  heads: Count
  mlp_ratio: Positive = 4.0
  weight_init: WeightInit = 'normal'
  dtype: jnp.dtype = jnp.float32

  def __post_init__(self):
    check(self)
    check_heads(self.width, self.heads)
    super().__post_init__()

  @nn.compact
  def __call__(self, visible, fill, keep_idx):
    """Visible patches [B, K, D] at int32 keep_idx [B, K], and the fill for all others [B, D] -> [B, N, output]."""
    x = restore_order(visible, fill, keep_idx, self.patches)
    pos = self.param('pos', INITIALIZERS[self.weight_init].tokens, (self.patches, self.width))
    x = dense(x, *Linear(self.width, self.dtype, self.weight_init, name='embed')(x.shape[-1]))
    x = pad_tokens((x + pos).astype(self.dtype))
    blocks = [Block(self.heads, self.mlp_ratio, self.dtype, self.weight_init, tokens=self.patches, name=f'block{i}')
              for i in range(self.depth)]
    x = layer_norm(jnp.float32, 'norm')(run_blocks(blocks, x, {}, scan=False)[:, :self.patches])
    return dense(x, *Linear(self.output, jnp.float32, self.weight_init, name='predict')(self.width))
