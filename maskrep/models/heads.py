"""What training puts on an encoder. Evaluation of the encoder drops it."""

import math

from flax import linen as nn
import jax.numpy as jnp

from maskrep.models.norm import BatchNorm
from maskrep.schema import Count, check


class ProjectionHead(nn.Module):
  """MSN's projector, arXiv:2204.07141 appendix C: float [B, D] -> float32 [B, output].

  Batch norm and GELU follow every layer but the last. `train` normalises by the batch and moves the running
  statistics in 'batch_stats'; otherwise these are used. `dtype` is of the matrix products only.
  """

  hidden: Count = 2048
  output: Count = 256
  layers: Count = 3
  dtype: jnp.dtype = jnp.float32

  def __post_init__(self):
    check(self)
    super().__post_init__()

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

  It starts at 0, with a bias that gives each class the probability 1 / classes (Beyer et al. 2020, arXiv:2006.07159).
  All of it is float32: small changes of a logit of -7 would be lost in bfloat16.
  """

  classes: int

  @nn.compact
  def __call__(self, x):
    bias = nn.initializers.constant(-math.log(self.classes))
    return nn.Dense(self.classes, kernel_init=nn.initializers.zeros, bias_init=bias, name='dense')(x)


class LinearClassifier(nn.Module):
  """A linear layer for softmax cross-entropy: float [..., D] -> float32 logits [..., classes].

  It starts from a normal distribution of deviation `init_std`, without bias; all of it is float32.
  """

  classes: int
  init_std: float

  @nn.compact
  def __call__(self, x):
    return nn.Dense(self.classes, kernel_init=nn.initializers.normal(self.init_std), name='dense')(x)


class MLPHead(nn.Module):
  """ExtreMA's projector and predictor, arXiv:2206.04667 section 3: float [..., D] -> float32 [..., output].

  LayerNorm and GELU follow every layer but the last. `dtype` is of the matrix products only.
  """

  hidden: Count = 4096
  output: Count = 256
  layers: Count = 3
  dtype: jnp.dtype = jnp.float32

  def __post_init__(self):
    check(self)
    super().__post_init__()

  @nn.compact
  def __call__(self, x):
    init = nn.initializers.normal(0.02)
    for i in range(1, self.layers):
      x = nn.Dense(self.hidden, dtype=self.dtype, kernel_init=init, name=f'fc{i}')(x)
      x = nn.gelu(nn.LayerNorm(epsilon=1e-6, use_fast_variance=False, name=f'norm{i}')(x), approximate=False)
    return nn.Dense(self.output, dtype=self.dtype, kernel_init=init, name=f'fc{self.layers}')(x).astype(jnp.float32)


class SiameseHead(nn.Module):
  """SimCLR's and BYOL's projector and BYOL's predictor: float [B, D] -> float32 [B, output].

  Batch norm and ReLU follow every layer but the last; `norm_output` puts a batch norm behind that one too. `train` and
  `dtype` are as in `ProjectionHead`.
  """

  hidden: Count = 4096
  output: Count = 256
  layers: Count = 2
  norm_output: bool = False
  dtype: jnp.dtype = jnp.float32

  def __post_init__(self):
    check(self)
    super().__post_init__()

  @nn.compact
  def __call__(self, x, *, train: bool = False):
    for i in range(1, self.layers):
      x = nn.Dense(self.hidden, use_bias=False, dtype=self.dtype, name=f'fc{i}')(x)
      x = nn.relu(BatchNorm(name=f'bn{i}')(x, train=train))
    x = nn.Dense(self.output, use_bias=not self.norm_output, dtype=self.dtype, name=f'fc{self.layers}')(x)
    if self.norm_output:
      x = BatchNorm(name=f'bn{self.layers}')(x, train=train)
    return x.astype(jnp.float32)
