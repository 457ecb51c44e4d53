"""Our flat arrays under another library's names, by a table of modules; and back.

Our names are Flax's, joined by dots: 'block0.attn.qkv.kernel'. A table maps each of our modules to theirs, with {} for
the number of a block; if several of their modules are one of ours, they are concatenated along our last axis. PyTorch
stores as [out, in] the matrices that Flax stores as [in, out].
"""

from collections.abc import Callable, Iterable, Mapping
import math
import re
from typing import NamedTuple

import numpy as np

Arrays = dict[str, np.ndarray]
Table = Mapping[str, str | tuple[str, ...]]

LEAVES = {'kernel': 'weight', 'scale': 'weight', 'bias': 'bias', 'mean': 'running_mean', 'var': 'running_var'}
NUMBER = re.compile(r'(?<=block)\d+')


class Transform(NamedTuple):
  """Our array -> theirs, and the inverse."""

  to_foreign: Callable[[np.ndarray], np.ndarray]
  from_foreign: Callable[[np.ndarray], np.ndarray]


def _filters(kernel: np.ndarray) -> np.ndarray:
  """Patch embedding [p * p * 3, D] -> convolution [D, 3, p, p]."""
  side = math.isqrt(len(kernel) // 3)
  return kernel.reshape(side, side, 3, -1).transpose(3, 2, 0, 1)


SAME = Transform(lambda a: a, lambda a: a)
LINEAR = Transform(np.transpose, np.transpose)
LEADING = Transform(lambda a: a[None], lambda a: a[0])  # theirs has a leading axis of length 1
PATCHES = Transform(_filters, lambda a: a.transpose(2, 3, 1, 0).reshape(-1, len(a)))


def to_foreign(table: Table, arrays: Mapping[str, np.ndarray]) -> Arrays:
  """Our arrays under their names, copied.

  Raises:
    KeyError: the table has no name for one of them.
  """
  state = {}
  for name, array in arrays.items():
    theirs, transform = _lookup(table, name)
    for each, part in zip(theirs, np.split(np.asarray(array), len(theirs), axis=-1), strict=True):
      state[each] = np.array(transform.to_foreign(part), order='C')
  return state


def from_foreign(table: Table, state: Mapping[str, np.ndarray], wanted: Iterable[str]) -> Arrays:
  """Those of our arrays whose names are `wanted`, float32, from theirs."""
  arrays = {}
  for name in wanted:
    theirs, transform = _lookup(table, name)
    parts = [transform.from_foreign(np.asarray(state[each], np.float32)) for each in theirs]
    arrays[name] = np.ascontiguousarray(np.concatenate(parts, axis=-1))
  return arrays


def renamed(rename: Callable[[str], str], arrays: Mapping[str, np.ndarray]) -> Arrays:
  """Our arrays under `rename(name)`, one array each; filters [h, w, in, out] -> [out, in, h, w]."""
  return {rename(name): np.array(value.transpose(3, 2, 0, 1) if value.ndim == 4 else value, order='C')
          for name, value in arrays.items()}


def renamed_back(rename: Callable[[str], str], state: Mapping[str, np.ndarray], wanted: Iterable[str]) -> Arrays:
  """The inverse of `renamed`: those of our arrays whose names are `wanted`, float32."""
  arrays = {name: np.asarray(state[rename(name)], np.float32) for name in wanted}
  return {name: np.ascontiguousarray(value.transpose(2, 3, 1, 0)) if value.ndim == 4 else value
          for name, value in arrays.items()}


def without(prefix: str, state: Mapping[str, np.ndarray]) -> Arrays:
  """The arrays whose names have the prefix, under the rest of the name."""
  return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def with_prefix(prefix: str, state: Mapping[str, np.ndarray]) -> Arrays:
  """The inverse of `without`."""
  return {prefix + name: value for name, value in state.items()}


def _lookup(table: Table, name: str) -> tuple[tuple[str, ...], Transform]:
  """Their names for one of our arrays, and its transform."""
  template, numbers = NUMBER.sub('{}', name), NUMBER.findall(name)
  if template in table:
    theirs, suffix, transform = table[template], '', LEADING if template == 'pos' else SAME
  else:
    module, _, leaf = template.rpartition('.')
    theirs, suffix = table[module], f'.{LEAVES[leaf]}'
    transform = (PATCHES if module == 'embed' else LINEAR) if leaf == 'kernel' else SAME
  theirs = (theirs,) if isinstance(theirs, str) else theirs
  return tuple(each.format(*numbers) + suffix for each in theirs), transform
