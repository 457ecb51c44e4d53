"""Random keys folded from (seed, named stream, position): a run carries no generator state.

Threefry is counter-based and partitionable, so the same key gives the same bits on any number of devices.
"""

import zlib

import jax

from maskrep.types import Array


def stream(seed: int, name: str) -> Array:
  """The key of a named stream ('init', 'views', 'loss'): independent of the keys of all other names."""
  return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))


def per_example(key: Array, position: Array) -> Array:
  """One key per example, from its position in the global stream: uint32 [B] -> keys [B]."""
  return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, position)


def fold(keys: Array, index: int) -> Array:
  """Folds one number into each key: keys [B] -> keys [B]."""
  return jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, index)


def per_view(keys: Array, count: int) -> Array:
  """Splits each key into `count` keys, those of one example adjacent: keys [B] -> keys [B * count]."""
  return jax.vmap(lambda key: jax.random.split(key, count))(keys).reshape(-1)
