"""Label-free measures of representation collapse. Those cheap enough for every step are in methods/losses.py."""

import jax
import jax.numpy as jnp

from maskrep.methods.losses import feature_std
from maskrep.types import Array


def rankme(features: Array) -> Array:
  """Effective rank: exp of the entropy of the singular values divided by their sum. float [M, D] -> float32 scalar.

  Ranges from 1, if all features are multiples of one vector, to min(M, D). Features are not centred; all zeros give 1.
  Garrido et al. 2023, arXiv:2210.02885, equation (1), without the 1e-7 that keeps its logarithm finite.
  """
  # The eigenvalues of the smaller Gram matrix would be ten times faster, but they are the squares: in float32, their
  # round-off gives a rank of 1.5 for 768-dimensional features that are multiples of one vector.
  singular = jnp.linalg.svd(features.astype(jnp.float32), compute_uv=False)
  total = singular.sum()
  return jnp.exp(jax.scipy.special.entr(singular / jnp.where(total > 0, total, 1)).sum())


@jax.jit
def collapse_metrics(features: Array) -> dict[str, Array]:
  """Returns float32 scalars by name, for float features [M, D]."""
  return {'feature_std': feature_std(features), 'rankme': rankme(features)}
