"""Our flat arrays under another library's names, by a table of modules; and back.

Ours are what flax makes, with dotted names: 'block0.attn.qkv.kernel'. A table gives for each of our modules theirs,
with {} for the number of a block; where several of theirs are one of ours, they are joined along our last axis. PyTorch
keeps [out, in] what flax keeps [in, out].
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


class Turn(NamedTuple):
  """What becomes of an array on its way out, and of theirs on its way in."""

  out: Callable[[np.ndarray], np.ndarray]
  into: Callable[[np.ndarray], np.ndarray]


def _filters(kernel: np.ndarray) -> np.ndarray:
  """Patch embedding [p * p * 3, D] -> convolution [D, 3, p, p]."""
  side = math.isqrt(len(kernel) // 3)
  return kernel.reshape(side, side, 3, -1).transpose(3, 2, 0, 1)


SAME = Turn(lambda a: a, lambda a: a)
LINEAR = Turn(np.transpose, np.transpose)
LEADING = Turn(lambda a: a[None], lambda a: a[0])  # they keep an axis of length 1
PATCHES = Turn(_filters, lambda a: a.transpose(2, 3, 1, 0).reshape(-1, len(a)))


def to_foreign(table: Table, arrays: Mapping[str, np.ndarray]) -> Arrays:
  """Our arrays by their names, in memory of their own.

  Raises:
    KeyError: the table has no place for one of them.
  """
  state = {}
  for name, array in arrays.items():
    theirs, turn = _place(table, name)
    for each, part in zip(theirs, np.split(np.asarray(array), len(theirs), axis=-1), strict=True):
      state[each] = np.array(turn.out(part), order='C')
  return state


def from_foreign(table: Table, state: Mapping[str, np.ndarray], wanted: Iterable[str]) -> Arrays:
  """The `wanted` of our arrays, float32, out of theirs."""
  arrays = {}
  for name in wanted:
    theirs, turn = _place(table, name)
    parts = [turn.into(np.asarray(state[each], np.float32)) for each in theirs]
    arrays[name] = np.ascontiguousarray(np.concatenate(parts, axis=-1))
  return arrays


def renamed(rename: Callable[[str], str], arrays: Mapping[str, np.ndarray]) -> Arrays:
  """Our arrays by their names where each is one of theirs; filters [h, w, in, out] -> [out, in, h, w]."""
  return {rename(name): np.array(value.transpose(3, 2, 0, 1) if value.ndim == 4 else value, order='C')
          for name, value in arrays.items()}


def renamed_back(rename: Callable[[str], str], state: Mapping[str, np.ndarray], wanted: Iterable[str]) -> Arrays:
  """The `wanted` of our arrays, float32, out of `renamed` ones."""
  found = {name: np.asarray(state[rename(name)], np.float32) for name in wanted}
  return {name: np.ascontiguousarray(value.transpose(2, 3, 1, 0)) if value.ndim == 4 else value
          for name, value in found.items()}


def without(prefix: str, state: Mapping[str, np.ndarray]) -> Arrays:
  """What is named with the prefix, by the rest of its name."""
  return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def with_prefix(prefix: str, state: Mapping[str, np.ndarray]) -> Arrays:
  return {prefix + name: value for name, value in state.items()}


def _place(table: Table, name: str) -> tuple[tuple[str, ...], Turn]:
  """Their names for one of our arrays, and what turns it into theirs."""
  template, numbers = NUMBER.sub('{}', name), NUMBER.findall(name)
  if template in table:
    theirs, suffix, turn = table[template], '', LEADING if template == 'pos' else SAME
  else:
    module, _, leaf = template.rpartition('.')
    theirs, suffix = table[module], f'.{LEAVES[leaf]}'
    turn = (PATCHES if module == 'embed' else LINEAR) if leaf == 'kernel' else SAME
  theirs = (theirs,) if isinstance(theirs, str) else theirs
  return tuple(each.format(*numbers) + suffix for each in theirs), turn
