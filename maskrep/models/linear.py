"""Dense layers of transformers, and the initialisers of their parameters."""

from typing import Annotated, Any, NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp

from maskrep.schema import OneOf


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
