"""Attention of the transformer block, in the form that is fastest on the platform compiled for.

Shapes: B examples, T tokens, of which S are queries, width D. Softmax is float32 in any `dtype`.
"""

import math

from flax import linen as nn
import jax
import jax.numpy as jnp

from maskrep.compiled_for import fuses_attention, platform
from maskrep.models.linear import Linear, dense

FUSED_HEAD = 128  # the widest head of cuDNN's fused attention on all GPUs since Ampere


def pad_tokens(x: jax.Array) -> jax.Array:
  """Appends tokens of zeros to x [B, T, D] as the platform's attention needs them to be fast.

  cuDNN's fused attention takes even numbers of tokens, in 16 bits. A TPU stores rows in tiles of 8: other numbers of
  tokens make it copy tokens between layouts. Whoever pads tells `Attention` how many tokens there are, and drops the
  others at the end.
  """
  multiple = {'tpu': 8, 'gpu': 2 if x.dtype.itemsize == 2 else 1}.get(platform(), 1)
  missing = -x.shape[1] % multiple
  return jnp.pad(x, ((0, 0), (0, missing), (0, 0))) if missing else x


def attend(q: jax.Array, k: jax.Array, v: jax.Array, tokens: int | None = None) -> jax.Array:
  """Softmax attention of q [B, S, heads, D] over the first `tokens` of k, v [B, T, heads, D] -> [B, S, heads, D].

  By default over all. Rows of padded queries are of no use.
  """
  if platform() != 'gpu':
    q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
    return attend_heads_first(q, k, v, tokens).swapaxes(1, 2)
  t, d = k.shape[1], q.shape[-1]
  fused = (fuses_attention() and q.dtype.itemsize == 2 and q.shape == k.shape
           and t % 2 == 0 and d % 8 == 0 and d <= FUSED_HEAD)
  lengths = None if tokens in (None, t) else jnp.full(len(q), tokens, jnp.int32)
  return jax.nn.dot_product_attention(
    q, k, v, query_seq_lengths=lengths if fused else None, key_value_seq_lengths=lengths,
    implementation='cudnn' if fused else 'xla')


def attend_heads_first(q: jax.Array, k: jax.Array, v: jax.Array, tokens: int | None = None) -> jax.Array:
  """`attend` of q [B, heads, S, D] over k, v [B, heads, T, D] -> [B, heads, S, D], by plain matrix products."""
  scores = jnp.matmul(q / math.sqrt(q.shape[-1]), k.mT, preferred_element_type=jnp.float32)
  if tokens not in (None, k.shape[2]):
    scores = jnp.where(jnp.arange(k.shape[2]) < tokens, scores, -jnp.inf)
  return jax.nn.softmax(scores).astype(v.dtype) @ v


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
  attention: this matters only to 'xavier'. Of x, the first `tokens` are attended to, if it is given.
  """

  heads: int
  dtype: jnp.dtype = jnp.float32
  weight_init: str = 'normal'
  talking: bool = False
  qkv_parts: int = 1
  tokens: int | None = None

  @nn.compact
  def __call__(self, x, queries=None):
    d = x.shape[-1]
    qkv = Linear(3 * d, self.dtype, self.weight_init, parts=self.qkv_parts, name='qkv')(d)
    out = Linear(d, self.dtype, self.weight_init, name='proj')(d)
    if platform() == 'tpu' and not self.talking:
      return self._heads_first(x, x if queries is None else queries, qkv, out)
    kernel, bias = qkv

    def project(x, first, count):
      part = slice(first * d, (first + count) * d)
      y = dense(x, kernel[:, part], bias[part])
      y = y.reshape(*x.shape[:2], count, self.heads, d // self.heads)
      return [y[:, :, i] for i in range(count)]

    if platform() == 'gpu':  # the parts of one wide product would have to be copied
      q, k, v = (project(y, i, 1)[0] for i, y in enumerate((x if queries is None else queries, x, x)))
    elif queries is None:
      q, k, v = project(x, 0, 3)
    else:
      (q,), (k, v) = project(queries, 0, 1), project(x, 1, 2)
    if self.talking:
      before, after = (Linear(self.heads, jnp.float32, self.weight_init, name=f'talk_{when}')(self.heads)
                       for when in ('before', 'after'))
      y = attend_talking(q, k, v, before, after)
    else:
      y = attend(q, k, v, self.tokens)
    return dense(y.reshape(*y.shape[:2], d), *out)

  def _heads_first(self, x, queries, qkv, out):
    """The same by products whose results have the heads before the tokens, which a TPU would else copy into place."""
    kernel, bias = (a.reshape(*a.shape[:-1], 3, self.heads, -1) for a in qkv)
    q, k, v = (jnp.einsum('btd,dhk->bhtk', y.astype(self.dtype), kernel[:, i]) + bias[i, :, None]
               for i, y in enumerate((queries, x, x)))
    kernel, bias = out
    y = attend_heads_first(q, k, v, self.tokens)
    return jnp.einsum('bhtk,hkd->btd', y, kernel.reshape(self.heads, -1, kernel.shape[1])) + bias
