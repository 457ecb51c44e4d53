"""Runs the expensive part of a step in microbatches, while heads and loss still get the complete global batch."""

from collections.abc import Callable
from typing import Any

import jax

from maskrep.types import Array


def in_microbatches(function: Callable[..., Array], size: int, *arrays: Array | dict | None) -> Array:
  """`function(*arrays)` for arrays [B, ...], or pytrees of them, `size` rows at a time; 0 is all at once.

  The function must treat rows independently. Loss and gradient are those of the full batch, up to the order of sums.
  The backward pass recomputes each microbatch, so that only one is in memory at a time.

  Microbatch m holds rows m, m + M, m + 2M ... of the batch, M = B / size: each device then holds its part of every
  microbatch, and no rows are communicated.
  """
  return in_ghost_batches(lambda *part: (function(*part), ()), size, *arrays)[0]


def in_ghost_batches(
  function: Callable[..., tuple[Array, Any]], size: int, *arrays: Array | dict | None
) -> tuple[Array, Any]:
  """Like `in_microbatches`, for an encoder with batch norm: the function returns rows and updated running statistics.

  Each microbatch is normalised by its own statistics (ghost batch norm, Hoffer et al. 2017, arXiv:1705.08741), so loss
  and gradient depend on `size`. The returned statistics are the mean of those of the microbatches.
  """
  rows = jax.tree.leaves(arrays)[0].shape[0]
  if not size or size == rows:
    return function(*arrays)
  split = jax.tree.map(lambda a: a.reshape(size, rows // size, *a.shape[1:]).swapaxes(0, 1), arrays)
  out, state = jax.lax.map(jax.checkpoint(lambda part: function(*part)), split)
  return out.swapaxes(0, 1).reshape(rows, *out.shape[2:]), jax.tree.map(lambda s: s.mean(axis=0), state)
