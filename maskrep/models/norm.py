"""Batch normalisation with PyTorch's statistics."""

from flax import linen as nn
import jax.numpy as jnp


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
