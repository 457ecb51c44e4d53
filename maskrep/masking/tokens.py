"""Token masks as index arrays of static shape: `keep_idx` int32 [B, K] holds the indices of the kept patches.

The class token is not a patch: it is never dropped and never counted.
"""

from fractions import Fraction
import math

import jax
import jax.numpy as jnp

from maskrep.errors import ConfigError
from maskrep.types import Array


def num_kept(num_patches: int, ratio: float) -> int:
  """Returns floor(N * (1 - ratio)), exact for the decimal as written: a ratio of 0.9 keeps 1 of 10 patches, not 0.

  Raises:
    ValueError: the ratio is outside [0, 1), or keeps no patch.
  """
  if not 0 <= ratio < 1:
    raise ValueError(f'masking ratio {ratio} is outside [0, 1)')
  keep = math.floor(num_patches * (1 - Fraction(str(ratio))))
  if keep < 1:
    raise ValueError(f'masking ratio {ratio} keeps none of {num_patches} patches')
  return keep


def check_ratio(field: str, ratio: float, *, size: int, patch_size: int) -> int:
  """Returns `num_kept` for a square view and a ratio from a config.

  Raises:
    ConfigError: the ratio keeps no patch; names the field.
  """
  try:
    return num_kept((size // patch_size) ** 2, ratio)
  except ValueError as error:
    raise ConfigError(f'config.{field}={ratio}: {error}; choose a lower ratio') from error


def random_keep(keys: Array, num_patches: int, keep: int) -> Array:
  """Draws a uniformly random subset of patches per key: keys [B] -> ascending int32 [B, K]."""

  def subset(key):
    _, index = jax.lax.top_k(jax.random.uniform(key, (num_patches,)), keep)
    return jnp.sort(index)

  return jax.vmap(subset)(keys).astype(jnp.int32)


def disjoint_keep(keys: Array, num_patches: int, keep: int, count: int) -> Array:
  """Draws `count` masks per key with no patch in common (ExtreMA, section 3): keys [B] -> int32 [B, count, K].

  Each mask is ascending, and on its own is a uniformly random subset.

  Raises:
    ValueError: there are not enough patches.
  """
  if count * keep > num_patches:
    raise ValueError(f'{count} disjoint masks that keep {keep} patches each need {count * keep}, but there are only '
                     f'{num_patches}')

  def subsets(key):
    _, index = jax.lax.top_k(jax.random.uniform(key, (num_patches,)), count * keep)
    return jnp.sort(index.reshape(count, keep), axis=1)

  return jax.vmap(subsets)(keys).astype(jnp.int32)


def shared_keep(key: Array, batch: int, num_patches: int, keep: int) -> Array:
  """Draws one random subset for the whole batch, as the MSN authors' code does: key -> ascending int32 [B, K]."""
  return jnp.broadcast_to(random_keep(key[None], num_patches, keep), (batch, keep))
