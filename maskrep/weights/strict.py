"""Compares the arrays of a file with those of a network: missing, unexpected, wrongly shaped, and similar names."""

from collections.abc import Iterable, Mapping
import difflib
import itertools
import re

import numpy as np

from maskrep.errors import ConfigError

SHOWN = 10  # names of each kind
COMPARED = 2000  # names among which a near one is sought, which is slow


def check(
  what: str, wanted: Mapping[str, tuple[int, ...]], state: Mapping[str, np.ndarray], allow: str = '', *,
  remedy: str = 'give the --format that it has, or allow names to differ with --allow=REGEX',
) -> list[str]:
  """Compares names and shapes; returns the wanted names that are missing or of another shape although allowed to be.

  Args:
    what: the flag and its value, for the error.
    wanted: the shapes of the network, by name.
    state: the arrays of the file, by name.
    allow: regular expression of complete names that may differ; '' allows none.

  Raises:
    ConfigError: any other name differs; the message lists all.
  """
  try:
    allowed = re.compile(allow) if allow else None
  except re.error as error:
    raise ConfigError(f'--allow={allow}: is not a regular expression ({error}); give one such as head.*') from error
  is_allowed = lambda name: bool(allowed and allowed.fullmatch(name))  # noqa: E731
  wrong = [name for name in wanted if name not in state or tuple(state[name].shape) != tuple(wanted[name])]
  missing = [name for name in wrong if name not in state and not is_allowed(name)]
  unexpected = sorted(name for name in state if name not in wanted and not is_allowed(name))
  misshapen = [name for name in wrong if name in state and not is_allowed(name)]
  lines = (
    [f'missing: {name}{nearest(name, unexpected)}' for name in missing[:SHOWN]] + _more('missing', missing)
    + [f'unexpected: {name}{nearest(name, missing or wanted)}' for name in unexpected[:SHOWN]]
    + _more('unexpected', unexpected)
    + [f'shape: {name} is {list(state[name].shape)} and not {list(wanted[name])}' for name in misshapen[:SHOWN]]
    + _more('of another shape', misshapen))
  if lines:
    raise ConfigError(f'{what}: does not hold the arrays of this network:\n  ' + '\n  '.join(lines) + f'\n{remedy}')
  return wrong


def need(what: str, state: Mapping[str, np.ndarray], name: str, axes: int) -> np.ndarray:
  """An array whose shape determines sizes.

  Raises:
    ConfigError: there is no array of that name, it has another number of axes, or it is empty.
  """
  if name not in state:
    raise ConfigError(f'{what}: has no {name}{nearest(name, state)}; give the --format that it has')
  if state[name].ndim != axes:
    raise ConfigError(f'{what}: {name} has {state[name].ndim} axes and not {axes}; give the --format that it has')
  if not state[name].size:
    raise ConfigError(f'{what}: {name} is empty, {list(state[name].shape)}; get the file once more')
  return state[name]


def nearest(name: str, names: Iterable[str]) -> str:
  """' (near: NAME)', or '' if no name is similar."""
  near = difflib.get_close_matches(name, list(itertools.islice(names, COMPARED)), 1)
  return f' (near: {near[0]})' if near else ''


def _more(kind: str, names: list[str]) -> list[str]:
  return [f'and {len(names) - SHOWN} more {kind}'] if len(names) > SHOWN else []
