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
    mean, var = running_mean.value, running_var.value
    if train:
      axes = tuple(range(x.ndim - 1))
      mean, var = x.mean(axes), x.var(axes)
      if not self.is_initializing():
        n = x.size // d
        running_mean.value += 0.1 * (mean - running_mean.value)
        running_var.value += 0.1 * (var * n / max(n - 1, 1) - running_var.value)
    if not self.affine:
      return (x - mean) / jnp.sqrt(var + self.epsilon)
    scale = self.param('scale', self.scale_init, d)
    bias = self.param('bias', nn.initializers.zeros, d)
    return (x - mean) * (scale / jnp.sqrt(var + self.epsilon)) + bias


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
  # Shifted by its first value a row has a mean near 0, so that one pass is enough for mean and variance.
  shifted = wide - wide[..., :1]
  first, second = shifted.mean(-1, keepdims=True), jnp.square(shifted).mean(-1, keepdims=True)
  mean = wide[..., :1] + first
  inverse = jax.lax.rsqrt(jnp.maximum(second - jnp.square(first), 0) + LAYER_EPSILON)
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
