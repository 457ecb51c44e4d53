"""The pre-norm transformer block of the encoders, optimised for speed.

Shapes: B examples, T tokens, of which S are queries, width D. Norm statistics and softmax are float32 in any `dtype`.
"""

import math
from typing import Annotated, Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from maskrep import rng
from maskrep.compiled_for import platform
from maskrep.models.attention import Attention
from maskrep.models.linear import Linear, dense
from maskrep.models.norm import layer_norm
from maskrep.schema import Range

Rate = Annotated[float, Range(0, 1, below=True, example='0.1')]  # of dropout or stochastic depth
ALL = 0, None  # tokens, as the ends of a slice


def check_heads(width: int, heads: int) -> None:
  """Raises ValueError if the width is not a multiple of the heads."""
  if width % heads:
    raise ValueError(f'heads={heads}: must divide width={width}')


def gelu(x: jax.Array) -> jax.Array:
  """The exact GELU. jax.nn.gelu uses erfc, which costs three divisions and an exponential on a CPU."""
  return 0.5 * x * (1 + jax.lax.erf(x * math.sqrt(0.5)))


class Mlp(nn.Module):
  """Two dense layers around an exact GELU, [..., D] -> [..., D]; `drop` applies dropout to the hidden units."""

  ratio: float = 4.0
  dtype: jnp.dtype = jnp.float32
  weight_init: str = 'normal'

  @nn.compact
  def __call__(self, x, drop=lambda x: x):
    d = x.shape[-1]
    hidden = int(d * self.ratio)
    kernel1, bias1 = Linear(hidden, self.dtype, self.weight_init, name='fc1')(d)
    kernel2, bias2 = Linear(d, self.dtype, self.weight_init, name='fc2')(hidden)
    if platform() == 'cpu' and hidden % 512 == 0:
      # Rows of a multiple of 2 KiB share few cache sets, which slows matrix products by up to a third. Padding by 16
      # hidden units, which are always 0, avoids it.
      kernel1, bias1 = jnp.pad(kernel1, ((0, 0), (0, 16))), jnp.pad(bias1, (0, 16))
      kernel2 = jnp.pad(kernel2, ((0, 16), (0, 0)))
    return dense(drop(gelu(dense(x, kernel1, bias1))), kernel2, bias2)


class Block(nn.Module):
  """Pre-norm transformer block: residual attention, residual MLP.

  Optional: LayerScale (Touvron et al. 2021, arXiv:2103.17239, section 2), if `layer_scale`, its initial value, is not
  0; `dropout` of both branches and of the MLP's hidden units (Dosovitskiy et al. 2021, appendix B); `talking` heads,
  see `attend_talking`; `qkv_parts` and `tokens`, see `Attention`.
  """

  heads: int
  mlp_ratio: float = 4.0
  dtype: jnp.dtype = jnp.float32
  weight_init: str = 'normal'
  layer_scale: float = 0.0
  dropout: float = 0.0
  talking: bool = False
  qkv_parts: int = 1
  tokens: int | None = None

  @nn.compact
  def __call__(self, x, part=ALL, *, keep=None, keys=None):
    """Tokens [B, T, D] -> the new values of tokens part[0]:part[1], which attend to all tokens.

    In training, keep [2, B] and keys [B] are this block's part of `draw_noise`.
    """
    drop = lambda i: lambda x: x if keys is None else dropout(rng.fold(keys, i), x, self.dropout)  # noqa: E731
    one, two = (1, 1) if keep is None else keep[..., None, None].astype(self.dtype)
    if self.layer_scale:
      init = nn.initializers.constant(self.layer_scale)
      one *= self.param('scale1', init, x.shape[-1]).astype(self.dtype)
      two *= self.param('scale2', init, x.shape[-1]).astype(self.dtype)
    y = layer_norm(self.dtype, 'norm1')(x)
    queries = None if part == ALL else y[:, slice(*part)]
    y = Attention(self.heads, self.dtype, self.weight_init, self.talking, self.qkv_parts, self.tokens,
                  name='attn')(y, queries)
    x = x[:, slice(*part)] + one * drop(0)(y)
    y = Mlp(self.mlp_ratio, self.dtype, self.weight_init, name='mlp')(layer_norm(self.dtype, 'norm2')(x), drop(1))
    return x + two * drop(2)(y)


def run_blocks(blocks: list[Block], x: jax.Array, noise: dict[str, jax.Array], scan: bool) -> jax.Array:
  """Applies blocks of equal shape to tokens [B, T, D] in sequence; `noise` comes from `by_block`.

  With `scan` only one block is compiled; the parameters of all blocks are stacked for a loop, which copies them once
  per call.
  """
  if not scan or len(blocks) < 2 or blocks[0].is_initializing():
    for i, block in enumerate(blocks):
      x = block(x, ALL, **jax.tree.map(lambda a, i=i: a[i], noise))
    return x
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(block.variables['params'] for block in blocks))
  one = blocks[0].clone(parent=None)

  def body(x, each) -> tuple[Any, None]:
    params, noise = each
    return one.apply({'params': params}, x, ALL, **noise), None

  return jax.lax.scan(body, x, (stacked, jax.tree.map(lambda a: a[:len(blocks)], noise)))[0]


def draw_noise(key: jax.Array, batch: int, depth: int, drop_path: float, dropout: float = 0.0) -> dict | None:
  """Draws the noise of training per example: {'keep': `stochastic_depth`, 'keys': [batch, depth], for dropout}.

  Each entry exists only if its rate is not 0; None if there are none.
  """
  noise = {'keep': stochastic_depth(key, drop_path, depth, batch)} if drop_path else {}
  if dropout:
    noise['keys'] = jax.random.split(jax.random.fold_in(key, 1), (batch, depth))
  return noise or None


def by_block(noise: dict | None) -> dict[str, jax.Array]:
  """Transposes arrays of `draw_noise` from [B, depth, ...] to [depth, ..., B]."""
  return jax.tree.map(lambda a: jnp.moveaxis(a, 0, -1), noise or {})


def dropout(keys: jax.Array, x: jax.Array, rate: float) -> jax.Array:
  """Sets values of x [B, ...] to 0 with probability `rate`, by the key of each example, and scales up the others."""
  kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, x.shape[1:]))(keys)
  return jnp.where(kept, x / (1 - rate), 0).astype(x.dtype)


def stochastic_depth(key: jax.Array, rate: float, depth: int, batch: int) -> jax.Array:
  """Draws factors [batch, depth, 2] of the residual branches of blocks (Huang et al. 2016, arXiv:1603.09382).

  A branch is dropped for an entire example (0), or scaled up so that its mean is unchanged. The drop probability grows
  linearly with depth, from 0 at the first block to `rate` at the last.
  """
  kept = 1 - jnp.linspace(0, rate, depth)[:, None]
  return jax.random.bernoulli(key, kept, (batch, depth, 2)) / kept
