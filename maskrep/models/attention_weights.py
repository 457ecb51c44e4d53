"""The attention weights of a ViT or CaiT, for pictures.

The blocks compute attention in a fused form, which does not return its weights. Here they are computed again, from the
normalised input of one block and its parameters, so that training is unchanged.
"""

import math

import jax
import jax.numpy as jnp

from maskrep.compiled_for import compiling_for
from maskrep.types import Network


def attention_weights(
  encoder: Network, variables: dict, images: jax.Array, block: str, queries: jax.Array | None = None
) -> jax.Array:
  """Weights with which some tokens attend to all T tokens of a block, in full float32 on any device.

  Args:
    encoder, variables: a ViT or CaiT that computes in float32, and its parameters.
    images: float32 [B, H, W, 3], preprocessed.
    block: one of `encoder.block_names`.
    queries: int32 [S], the places of the tokens among all T; None is all.

  Returns:
    float32 [B, heads, S, T]. Rows sum to 1, except for talking heads, which are mixed after the softmax (CaiT).
  """
  # Blocks in their form for CPUs have no padding among their tokens, see `pad_tokens`; it would be attended to here.
  with jax.default_matmul_precision('highest'), compiling_for('cpu'):
    _, seen = encoder.clone(scan=False, remat=False).apply(
      variables, images, capture_intermediates=lambda module, _: module.path == (block, 'norm1'))
    x = seen['intermediates'][block]['norm1']['__call__'][0]  # a last block of parts is called once for each
    parameters = variables['params'][block]['attn']
    b, _, d = x.shape
    kernel, bias = parameters['qkv']['kernel'], parameters['qkv']['bias']

    def project(tokens, part):
      y = tokens @ kernel[:, part * d:(part + 1) * d] + bias[part * d:(part + 1) * d]
      return y.reshape(b, -1, encoder.heads, d // encoder.heads)

    def mix(heads, name):
      if name not in parameters:
        return heads
      return jnp.einsum('bhst,hg->bgst', heads, parameters[name]['kernel']) + parameters[name]['bias'][:, None, None]

    q, k = project(x if queries is None else x[:, queries], 0), project(x, 1)
    scores = jnp.einsum('bshd,bthd->bhst', q / math.sqrt(d // encoder.heads), k)
    return mix(jax.nn.softmax(mix(scores, 'talk_before')), 'talk_after')


def last_attention(
  encoder: Network, variables: dict, images: jax.Array, patches: tuple[int, ...]
) -> tuple[jax.Array, jax.Array | None]:
  """Weights on the N patches: of some patches in the last block of the trunk, and of the class token.

  The class token attends in that block too or, with class attention, in the last block of that.

  Args:
    encoder, variables, images: see `attention_weights`.
    patches: the numbers of the patches, row by row.

  Returns:
    float32 [B, heads, len(patches), N] and [B, heads, N], or None if there is no class token. What a query gives to
    the class token is left out.
  """
  blocks = encoder.block_names
  trunk = [name for name in blocks if name.startswith('block')]
  in_trunk = 'cls' in variables['params'] and blocks == tuple(trunk)
  queries = jnp.array([*range(in_trunk), *(patch + in_trunk for patch in patches)], jnp.int32)
  weights = attention_weights(encoder, variables, images, trunk[-1], queries)
  if in_trunk:
    return weights[:, :, 1:, 1:], weights[:, :, 0, 1:]
  if blocks == tuple(trunk):
    return weights, None
  return weights, attention_weights(encoder, variables, images, blocks[-1], jnp.zeros(1, jnp.int32))[:, :, 0, 1:]
