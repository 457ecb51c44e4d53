"""Writing a network in a format of another library, certified by that library's own code."""

import functools
from pathlib import Path

from maskrep.errors import ConfigError
from maskrep.weights import parity
from maskrep.weights.formats.table import FORMATS, FORWARD_FORMATS
from maskrep.weights.pretrained import ImportOptions, Pretrained, RunState, encoder_only
from maskrep.weights.staged import staged


def check(name: str, path: Path, kind: str, where: str) -> None:
  """Checks that a format can hold a kind of network, before anything is written.

  Args:
    name: the format's name.
    where: the location of the network, for errors.

  Raises:
    ConfigError: the format cannot hold the kind, or its files have another suffix.
  """
  formats = {**FORMATS, **FORWARD_FORMATS}
  fmt = formats[name]
  if kind not in fmt.KINDS:
    others = [name for name, other in formats.items() if kind in other.KINDS]
    raise ConfigError(f'--format={name}: holds {", ".join(fmt.KINDS)}, but {where} is a {kind}; choose one of '
                      f'{", ".join(others)}')
  if fmt.SUFFIXES and path.suffix not in fmt.SUFFIXES:
    raise ConfigError(f'--output={path}: must end with {" or ".join(fmt.SUFFIXES)}')


def write(name: str, path: Path, pretrained: Pretrained, run: RunState | None) -> str:
  """Writes a network, with the rest of its `run` if given, and parity.json beside it; returns a summary.

  Raises:
    RunError: the format cannot hold the network, or the outputs of the written network differ.
  """
  with staged(path) as partial:
    return (_write_forward if name in FORWARD_FORMATS else _write_arrays)(name, partial, pretrained, run)


def _write_arrays(name: str, path: Path, pretrained: Pretrained, run: RunState | None) -> str:
  fmt = FORMATS[name]
  state = fmt.to_foreign(pretrained.arrays, pretrained.config)
  file = fmt.write(path, state, pretrained, run)
  if fmt.read is not None:  # certify what is on disk
    state = fmt.read(f'--output={path.name}', path, ImportOptions(heads=pretrained.config.get('heads'))).state
  parity.certify(pretrained, functools.partial(fmt.peer, state, pretrained.config), file, pretrained.sides)
  return f'{len(state)} arrays of a {pretrained.kind}'


def _write_forward(name: str, path: Path, pretrained: Pretrained, run: RunState | None) -> str:
  encoder_only(name, run)
  side, fmt = pretrained.sides[0], FORWARD_FORMATS[name]
  file = fmt.export(pretrained, side, path)
  parity.certify(pretrained, lambda side: fmt.peer(path), file, (side,))
  return f'a {pretrained.kind} for images of {side} x {side} pixels'
