"""What training puts on an encoder. Evaluation of the encoder drops it."""

import math

from flax import linen as nn
import jax.numpy as jnp


class BatchNorm(nn.Module):
  """PyTorch's BatchNorm1d, [B, D] -> [B, D] float32: momentum 0.1, eps 1e-5, unbiased running variance.

  Statistics are of the whole batch given; jit over a mesh makes that the global batch. (Flax's own keeps the biased
  variance, and computes it from mean squares.)
  """

  @nn.compact
  def __call__(self, x, *, train: bool = False):
    b, d = x.shape
    x = x.astype(jnp.float32)
    running_mean = self.variable('batch_stats', 'mean', jnp.zeros, d)
    running_var = self.variable('batch_stats', 'var', jnp.ones, d)
    mean, var = running_mean.value, running_var.value
    if train:
      mean, var = x.mean(0), x.var(0)
      if not self.is_initializing():
        running_mean.value += 0.1 * (mean - running_mean.value)
        running_var.value += 0.1 * (var * b / max(b - 1, 1) - running_var.value)
    scale = self.param('scale', nn.initializers.ones, d)
    bias = self.param('bias', nn.initializers.zeros, d)
    return (x - mean) * (scale / jnp.sqrt(var + 1e-5)) + bias


class ProjectionHead(nn.Module):
  """MSN's projector, arXiv:2204.07141 appendix C: float [B, D] -> float32 [B, output].

  Batch norm and GELU follow every layer but the last. `train` normalises by the batch and moves the running
  statistics in 'batch_stats'; otherwise these are used. `dtype` is of the matrix products only.
  """

  hidden: int = 2048
  output: int = 256
  layers: int = 3
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x, *, train: bool = False):
    init = nn.initializers.normal(0.02)
    for i in range(1, self.layers):
      x = nn.Dense(self.hidden, dtype=self.dtype, kernel_init=init, name=f'fc{i}')(x)
      x = nn.gelu(BatchNorm(name=f'bn{i}')(x, train=train), approximate=False)
    x = nn.Dense(self.output, dtype=self.dtype, kernel_init=init, name=f'fc{self.layers}')(x)
    return x.astype(jnp.float32)


class Classifier(nn.Module):
  """A linear layer for sigmoid cross-entropy: float [..., D] -> float32 logits [..., classes].

  It starts at 0, with a bias that gives each class the probability 1 / classes (Beyer et al. 2020, arXiv:2006.07159).
  All of it is float32: small changes of a logit of -7 would be lost in bfloat16.
  """

  classes: int

  @nn.compact
  def __call__(self, x):
    bias = nn.initializers.constant(-math.log(self.classes))
    return nn.Dense(self.classes, kernel_init=nn.initializers.zeros, bias_init=bias, name='dense')(x)


class MLPHead(nn.Module):
  """ExtreMA's projector and predictor, arXiv:2206.04667 section 3: float [..., D] -> float32 [..., output].

  LayerNorm and GELU follow every layer but the last. `dtype` is of the matrix products only.
  """

  hidden: int = 4096
  output: int = 256
  layers: int = 3
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x):
    init = nn.initializers.normal(0.02)
    for i in range(1, self.layers):
      x = nn.Dense(self.hidden, dtype=self.dtype, kernel_init=init, name=f'fc{i}')(x)
      x = nn.gelu(nn.LayerNorm(epsilon=1e-6, use_fast_variance=False, name=f'norm{i}')(x), approximate=False)
    return nn.Dense(self.output, dtype=self.dtype, kernel_init=init, name=f'fc{self.layers}')(x).astype(jnp.float32)
