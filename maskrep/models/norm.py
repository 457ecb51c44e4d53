"""Batch normalisation with PyTorch's statistics, and layer normalisation in the form fastest on each platform."""

import functools

from flax import linen as nn
import jax
import jax.numpy as jnp

from maskrep.compiled_for import platform

LAYER_EPSILON = 1e-6


class BatchNorm(nn.Module):
  """PyTorch's BatchNorm, [..., D] -> [..., D] float32: momentum 0.1, unbiased running variance.

  Statistics are over all axes but the last, of the complete batch; under jit over a mesh this is the global batch.
  (Flax's own keeps the biased variance, computed from mean squares.) Without `affine` there are no scale and bias.
  """

  scale_init: nn.initializers.Initializer = nn.initializers.ones
  affine: bool = True
  epsilon: float = 1e-5

  @nn.compact
  def __call__(self, x, *, train: bool = False):
    d = x.shape[-1]
    x = x.astype(jnp.float32)
    running_mean = self.variable('batch_stats', 'mean', jnp.zeros, d)
    running_var = self.variable('batch_stats', 'var', jnp.ones, d)
    scale = self.param('scale', self.scale_init, d) if self.affine else 1.0
    bias = self.param('bias', nn.initializers.zeros, d) if self.affine else 0.0
    mean, var = running_mean.value, running_var.value
    one_pass = train and platform() == 'gpu'
    if train:
      axes = tuple(range(x.ndim - 1))
      mean, var = _moments(x, running_mean.value) if one_pass else (x.mean(axes), x.var(axes))
      if not self.is_initializing():
        n = x.size // d
        running_mean.value += 0.1 * (mean - running_mean.value)
        running_var.value += 0.1 * (var * n / max(n - 1, 1) - running_var.value)
    if one_pass:
      return _batch_normalised(x, mean, jax.lax.rsqrt(var + self.epsilon), jnp.broadcast_to(scale, d),
                               jnp.broadcast_to(bias, d))
    if not self.affine:
      return (x - mean) / jnp.sqrt(var + self.epsilon)
    return (x - mean) * (scale / jnp.sqrt(var + self.epsilon)) + bias


def _moments(x, shift):
  """Mean and variance of x [..., D] over all axes but the last, in one pass; without gradient.

  Shifted by the running mean, numbers near 0 are summed.
  """
  axes = tuple(range(x.ndim - 1))
  shifted = jax.lax.stop_gradient(x) - shift
  first, second = shifted.mean(axes), jnp.square(shifted).mean(axes)
  return shift + first, jnp.maximum(second - jnp.square(first), 0)


@jax.custom_vjp
def _batch_normalised(x, mean, inverse, scale, bias):
  """(x - mean) * inverse * scale + bias of x [..., D]; its gradient is batch norm's: mean and inverse depend on x."""
  return (x - mean) * (inverse * scale) + bias


def _batch_backwards(kept, gradient):
  x, mean, inverse, scale = kept
  axes = tuple(range(x.ndim - 1))
  count = x.size // x.shape[-1]
  normal = (x - mean) * inverse
  to_scale, to_bias = (gradient * normal).sum(axes), gradient.sum(axes)  # the only sums over the batch
  to_x = inverse * scale * (gradient - to_bias / count - normal * (to_scale / count))
  return to_x, jnp.zeros_like(mean), jnp.zeros_like(inverse), to_scale, to_bias


_batch_normalised.defvjp(
  lambda x, mean, inverse, scale, bias: (_batch_normalised(x, mean, inverse, scale, bias), (x, mean, inverse, scale)),
  _batch_backwards)


def layer_norm(dtype: jnp.dtype, name: str | None) -> nn.Module:
  """A module that normalises [..., D] over D, with statistics in float32 and the result in `dtype`."""
  if platform() != 'gpu':
    return nn.LayerNorm(epsilon=LAYER_EPSILON, dtype=dtype, use_fast_variance=False, name=name)
  return LayerNorm(dtype, name=name)


class LayerNorm(nn.Module):
  """Flax's LayerNorm for GPUs: it keeps its input and two numbers per row for the gradient, and no float32 copies."""

  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x):
    scale = self.param('scale', nn.initializers.ones, x.shape[-1])
    bias = self.param('bias', nn.initializers.zeros, x.shape[-1])
    return _normalised(self.dtype, x, scale, bias)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _normalised(dtype, x, scale, bias):
  return _forwards(dtype, x, scale, bias)[0]


def _forwards(dtype, x, scale, bias):
  wide = x.astype(jnp.float32)
  mean, square = wide.mean(-1, keepdims=True), jnp.square(wide).mean(-1, keepdims=True)  # in one pass
  inverse = jax.lax.rsqrt(jnp.maximum(square - jnp.square(mean), 0) + LAYER_EPSILON)
  return ((wide - mean) * (inverse * scale) + bias).astype(dtype), (x, mean, inverse, scale)


def _backwards(dtype, kept, gradient):
  x, mean, inverse, scale = kept

  def wide():
    # Behind barriers, so that each sum below recomputes these from 16 bits: else XLA writes and reads 32.
    one, two = jax.lax.optimization_barrier((gradient, x))
    one = one.astype(jnp.float32)
    return one, one * scale, (two.astype(jnp.float32) - mean) * inverse

  _, scaled, normal = wide()
  means = scaled.mean(-1, keepdims=True), (scaled * normal).mean(-1, keepdims=True)
  _, scaled, normal = wide()
  to_x = inverse * (scaled - means[0] - normal * means[1])
  whole, _, normal = wide()
  rows = tuple(range(x.ndim - 1))
  return to_x.astype(x.dtype), (whole * normal).sum(rows), whole.sum(rows)


_normalised.defvjp(_forwards, _backwards)
