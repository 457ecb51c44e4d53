"""Whether a file holds the arrays that it should: what is missing, unexpected or of another shape, and what is near."""

from collections.abc import Iterable, Mapping
import difflib
import re

import numpy as np

from maskrep.errors import ConfigError

SHOWN = 10  # names of each kind


def check(
  what: str, wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, np.ndarray], allow: str = ''
) -> list[str]:
  """Compares names and shapes; returns the wanted names that are allowed not to be there, or to be of another shape.

  Args:
    what: the flag and its value, for the error.
    wanted: shapes by name.
    allow: regular expression of whole names that may differ; '' allows none.

  Raises:
    ConfigError: any other name differs; the message lists all.
  """
  try:
    allowed = re.compile(allow) if allow else None
  except re.error as error:
    raise ConfigError(f'--allow={allow}: is no regular expression ({error}); give one as head.* is') from error
  free = lambda name: bool(allowed and allowed.fullmatch(name))  # noqa: E731
  wrong = [name for name in wanted if name not in found or tuple(found[name].shape) != tuple(wanted[name])]
  missing = [name for name in wrong if name not in found and not free(name)]
  unexpected = sorted(name for name in found if name not in wanted and not free(name))
  shaped = [name for name in wrong if name in found and not free(name)]
  lines = (
    [f'missing: {name}{nearest(name, unexpected)}' for name in missing[:SHOWN]] + _more('missing', missing)
    + [f'unexpected: {name}{nearest(name, missing or wanted)}' for name in unexpected[:SHOWN]]
    + _more('unexpected', unexpected)
    + [f'shape: {name} is {list(found[name].shape)} and not {list(wanted[name])}' for name in shaped[:SHOWN]]
    + _more('of another shape', shaped))
  if lines:
    raise ConfigError(f'{what}: does not hold what it should:\n  ' + '\n  '.join(lines) + '\ngive the --format that it '
                      'has, or let names go with --allow=REGEX')
  return wrong


def need(what: str, state: Mapping[str, np.ndarray], name: str, axes: int) -> np.ndarray:
  """The array that tells a size.

  Raises:
    ConfigError: there is none of that name with so many axes.
  """
  if name not in state:
    raise ConfigError(f'{what}: has no {name}{nearest(name, state)}; give the --format that it has')
  if state[name].ndim != axes:
    raise ConfigError(f'{what}: {name} has {state[name].ndim} axes and not {axes}; give the --format that it has')
  if not state[name].size:
    raise ConfigError(f'{what}: {name} is empty, {list(state[name].shape)}; get the file once more')
  return state[name]


def nearest(name: str, names: Iterable[str]) -> str:
  """' (near: NAME)', or nothing where none is."""
  near = difflib.get_close_matches(name, list(names), 1)
  return f' (near: {near[0]})' if near else ''


def _more(kind: str, names: list[str]) -> list[str]:
  return [f'and {len(names) - SHOWN} more {kind}'] if len(names) > SHOWN else []
