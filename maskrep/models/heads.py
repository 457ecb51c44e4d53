"""Heads on an encoder for training; evaluation of the encoder discards them."""

import math

from flax import linen as nn
import jax.numpy as jnp

from maskrep.models.norm import BatchNorm
from maskrep.schema import Count, check_module


class ProjectionHead(nn.Module):
  """MSN's projector, arXiv:2204.07141 appendix A.1: float [B, D] -> float32 [B, output].

  Batch norm and GELU follow every layer but the last. With `train`, the batch's statistics normalise, and update the
  running ones in 'batch_stats'; otherwise the running statistics normalise.

  Attributes:
    hidden: width of all layers but the last.
    output: width of the last layer.
    layers: number of layers.
    dtype: dtype of the matrix products.
  """

  hidden: Count = 2048
  output: Count = 256
  layers: Count = 3
  dtype: jnp.dtype = jnp.float32

  __post_init__ = check_module

  @nn.compact
  def __call__(self, x, *, train: bool = False):
    init = nn.initializers.normal(0.02)
    for i in range(1, self.layers):
      x = nn.Dense(self.hidden, dtype=self.dtype, kernel_init=init, name=f'fc{i}')(x)
      x = nn.gelu(BatchNorm(name=f'bn{i}')(x, train=train), approximate=False)
    x = nn.Dense(self.output, dtype=self.dtype, kernel_init=init, name=f'fc{self.layers}')(x)
    return x.astype(jnp.float32)


class SigmoidClassifier(nn.Module):
  """A linear layer for sigmoid cross-entropy: float [..., D] -> float32 logits [..., classes].

  The kernel starts at 0, the bias at a probability of 1 / classes per class (Beyer et al. 2020, arXiv:2006.07159).
  Everything is float32: small changes of a logit of -7 would be lost in bfloat16.
  """

  classes: int

  @nn.compact
  def __call__(self, x):
    bias = nn.initializers.constant(-math.log(self.classes))
    return nn.Dense(self.classes, kernel_init=nn.initializers.zeros, bias_init=bias, name='dense')(x)


class LinearClassifier(nn.Module):
  """A linear layer for softmax cross-entropy: float [..., D] -> float32 logits [..., classes].

  The kernel is initially normal with standard deviation `init_std`, the bias 0. Everything is float32.
  """

  classes: int
  init_std: float

  @nn.compact
  def __call__(self, x):
    return nn.Dense(self.classes, kernel_init=nn.initializers.normal(self.init_std), name='dense')(x)


class MLPHead(nn.Module):
  """ExtreMA's projector and predictor, arXiv:2206.04667 section 3: float [..., D] -> float32 [..., output].

  LayerNorm and GELU follow every layer but the last; initialised as in the authors' code. With `first`, it is the first
  layer alone, with its norm and GELU: float [..., D] -> float32 [..., hidden].

  Attributes:
    hidden: width of all layers but the last.
    output: width of the last layer.
    layers: number of layers.
    dtype: dtype of the matrix products.
  """

  hidden: Count = 4096
  output: Count = 256
  layers: Count = 3
  dtype: jnp.dtype = jnp.float32

  __post_init__ = check_module

  @nn.compact
  def __call__(self, x, *, first: bool = False):
    init = nn.initializers.xavier_uniform()
    for i in range(1, 2 if first else self.layers):
      x = nn.Dense(self.hidden, dtype=self.dtype, kernel_init=init, name=f'fc{i}')(x)
      x = nn.gelu(nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, name=f'norm{i}')(x), approximate=False)
    if first:
      return x.astype(jnp.float32)
    return nn.Dense(self.output, dtype=self.dtype, kernel_init=init, name=f'fc{self.layers}')(x).astype(jnp.float32)


class SiameseHead(nn.Module):
  """SimCLR's and BYOL's projector and BYOL's predictor: float [B, D] -> float32 [B, output].

  Batch norm and ReLU follow every layer but the last. `train` is as in `ProjectionHead`.

  Attributes:
    hidden: width of all layers but the last.
    output: width of the last layer.
    layers: number of layers.
    norm_output: whether batch norm follows the last layer too.
    dtype: dtype of the matrix products.
  """

  hidden: Count = 4096
  output: Count = 256
  layers: Count = 2
  norm_output: bool = False
  dtype: jnp.dtype = jnp.float32

  __post_init__ = check_module

  @nn.compact
  def __call__(self, x, *, train: bool = False):
    for i in range(1, self.layers):
      x = nn.Dense(self.hidden, use_bias=False, dtype=self.dtype, name=f'fc{i}')(x)
      x = nn.relu(BatchNorm(name=f'bn{i}')(x, train=train))
    x = nn.Dense(self.output, use_bias=not self.norm_output, dtype=self.dtype, name=f'fc{self.layers}')(x)
    if self.norm_output:
      x = BatchNorm(name=f'bn{self.layers}')(x, train=train)
    return x.astype(jnp.float32)
