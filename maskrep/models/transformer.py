"""The pre-norm transformer block of the encoders, optimised for speed.

Shapes: B examples, T tokens, of which S are queries, width D. Norm statistics and softmax are float32 in any `dtype`.
"""

import math
from typing import Annotated, Any, NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp

from maskrep import rng
from maskrep.schema import OneOf, Range


class Initializers(NamedTuple):
  """Initialisers of a Transformer's matrices, of its class token and positions, and of its patch embedding."""

  matrices: Any
  tokens: Any
  embed: Any


NORMAL, FAN_IN = nn.initializers.normal(0.02), nn.initializers.variance_scaling(1.0, 'fan_in', 'normal')
# 'kaiming_patches': as in MSN's code, where the patch embedding has the deviation sqrt(2 / (3 P^2)) for patches of P
# pixels; its trunc_normal_(std=0.02) truncates at +-2, a hundred deviations. 'xavier': as in ExtreMA's code.
# 'fan_in': for widths far below the papers', for which 0.02 is too small.
INITIALIZERS = {
  'normal': Initializers(NORMAL, NORMAL, NORMAL),
  'kaiming_patches': Initializers(NORMAL, NORMAL, nn.initializers.variance_scaling(2.0, 'fan_in', 'normal')),
  'xavier': Initializers(nn.initializers.xavier_uniform(), NORMAL, nn.initializers.xavier_uniform()),
  'fan_in': Initializers(FAN_IN, nn.initializers.normal(1.0), FAN_IN),
}

WeightInit = Annotated[str, OneOf(INITIALIZERS)]
Rate = Annotated[float, Range(0, 1, below=True, example='0.1')]  # of dropout or stochastic depth
ALL = 0, None  # tokens, as the ends of a slice


def check_heads(width: int, heads: int) -> None:
  """Raises ValueError if the width is not a multiple of the heads."""
  if width % heads:
    raise ValueError(f'heads={heads}: must divide width={width}')


def layer_norm(dtype: jnp.dtype, name: str | None) -> nn.LayerNorm:
  return nn.LayerNorm(epsilon=1e-6, dtype=dtype, use_fast_variance=False, name=name)


def gelu(x: jax.Array) -> jax.Array:
  """The exact GELU. jax.nn.gelu uses erfc, which costs three divisions and an exponential on a CPU."""
  return 0.5 * x * (1 + jax.lax.erf(x * math.sqrt(0.5)))


class Linear(nn.Module):
  """The parameters of a dense layer: returns a kernel [D, features] and a bias [features].

  `kind` is the field of `Initializers` that initialises the kernel. The kernel may consist of `parts` concatenated
  matrices, each initialised by its own width.
  """

  features: int
  dtype: jnp.dtype = jnp.float32
  weight_init: str = 'normal'
  kind: str = 'matrices'
  parts: int = 1

  @nn.compact
  def __call__(self, d: int):
    init = getattr(INITIALIZERS[self.weight_init], self.kind)
    kernel = self.param('kernel', _side_by_side(init, self.parts), (d, self.features))
    bias = self.param('bias', nn.initializers.zeros, self.features)
    return kernel.astype(self.dtype), bias.astype(self.dtype)


def _side_by_side(init: Any, parts: int) -> Any:
  """An initialiser of `parts` concatenated matrices of equal width."""
  if parts == 1:
    return init

  def several(key, shape, *dtype):
    keys, one = jax.random.split(key, parts), (shape[0], shape[1] // parts)
    return jnp.concatenate([init(each, one, *dtype) for each in keys], axis=1)

  return several


def dense(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
  """Dense layer, [..., D] -> [..., features], on flattened rows: otherwise XLA transposes copies for the gradient."""
  y = x.reshape(-1, x.shape[-1]).astype(kernel.dtype) @ kernel + bias
  return y.reshape(*x.shape[:-1], -1)


def attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
  """Softmax attention of q [B, S, heads, D] over k, v [B, T, heads, D] -> [B, S, heads, D]."""
  if jax.default_backend() != 'cpu':
    return jax.nn.dot_product_attention(q, k, v)
  # Heads before tokens: plain matrix products, which are faster on the CPU backend.
  q, k, v = (x.swapaxes(1, 2) for x in (q / math.sqrt(q.shape[-1]), k, v))
  scores = jnp.matmul(q, k.mT, preferred_element_type=jnp.float32)
  return (jax.nn.softmax(scores).astype(v.dtype) @ v).swapaxes(1, 2)


def attend_talking(q: jax.Array, k: jax.Array, v: jax.Array, before, after) -> jax.Array:
  """Talking-heads attention: heads are mixed by (kernel [heads, heads], bias [heads]) before and after the softmax.

  Shazeer et al. 2020, arXiv:2003.02436; used in CaiT's trunk.
  """
  mix = lambda x, kernel, bias: jnp.einsum('bhst,hg->bgst', x, kernel) + bias[:, None, None]  # noqa: E731
  scores = jnp.einsum('bshd,bthd->bhst', q / math.sqrt(q.shape[-1]), k, preferred_element_type=jnp.float32)
  weights = mix(jax.nn.softmax(mix(scores, *before)), *after)
  return jnp.einsum('bhst,bthd->bshd', weights.astype(v.dtype), v)


class Attention(nn.Module):
  """Multi-head attention of queries [B, S, D], by default all tokens, over tokens x [B, T, D] -> [B, S, D].

  The matrices of queries, keys and values are initialised as one, as in timm, or as `qkv_parts=3`, as in CaiT's class
  attention: this matters only to 'xavier'.
  """

  heads: int
  dtype: jnp.dtype = jnp.float32
  weight_init: str = 'normal'
  talking: bool = False
  qkv_parts: int = 1

  @nn.compact
  def __call__(self, x, queries=None):
    d = x.shape[-1]

    def project(x, kernel, bias):
      y = dense(x, kernel, bias)
      y = y.reshape(*x.shape[:2], -1, self.heads, d // self.heads)
      return [y[:, :, i] for i in range(y.shape[2])]

    kernel, bias = Linear(3 * d, self.dtype, self.weight_init, parts=self.qkv_parts, name='qkv')(d)
    if queries is None:
      q, k, v = project(x, kernel, bias)
    else:
      (q,), (k, v) = project(queries, kernel[:, :d], bias[:d]), project(x, kernel[:, d:], bias[d:])
    if self.talking:
      before, after = (Linear(self.heads, jnp.float32, self.weight_init, name=f'talk_{when}')(self.heads)
                       for when in ('before', 'after'))
      y = attend_talking(q, k, v, before, after)
    else:
      y = attend(q, k, v)
    return dense(y.reshape(*y.shape[:2], d), *Linear(d, self.dtype, self.weight_init, name='proj')(d))


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
    if jax.default_backend() == 'cpu' and hidden % 512 == 0:
      # Rows of a multiple of 2 KiB share few cache sets, which slows matrix products by up to a third. Padding by 16
      # hidden units, which are always 0, avoids it.
      kernel1, bias1 = jnp.pad(kernel1, ((0, 0), (0, 16))), jnp.pad(bias1, (0, 16))
      kernel2 = jnp.pad(kernel2, ((0, 16), (0, 0)))
    return dense(drop(gelu(dense(x, kernel1, bias1))), kernel2, bias2)


class Block(nn.Module):
  """Pre-norm transformer block: residual attention, residual MLP.

  Optional: LayerScale (Touvron et al. 2021, arXiv:2103.17239, section 2), if `layer_scale`, its initial value, is not
  0; `dropout` of both branches and of the MLP's hidden units (Dosovitskiy et al. 2021, appendix B); `talking` heads,
  see `attend_talking`; `qkv_parts`, see `Attention`.
  """

  heads: int
  mlp_ratio: float = 4.0
  dtype: jnp.dtype = jnp.float32
  weight_init: str = 'normal'
  layer_scale: float = 0.0
  dropout: float = 0.0
  talking: bool = False
  qkv_parts: int = 1

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
    y = Attention(self.heads, self.dtype, self.weight_init, self.talking, self.qkv_parts, name='attn')(y, queries)
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
