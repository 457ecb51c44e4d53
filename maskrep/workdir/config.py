"""config.json: the config that a run was started with, as plain data, and the comparison when the run is resumed."""

import json
import logging
from pathlib import Path
from typing import Any

from maskrep.errors import CheckpointError, ConfigError
from maskrep.workdir.files import write_atomic
from maskrep.workdir.upgrade import upgraded

# The version of the field names. The file records the version that wrote it; without one it is version 1.
VERSION = 4

log = logging.getLogger(__name__)


def store_config(
  workdir: Path, config: dict, *, free: tuple[str, ...], allowed: tuple[str, ...] = (), replaces: bool = False,
) -> None:
  """Stores the config of a new run; on resume, compares with the stored one first.

  Args:
    free: prefixes of dotted fields that may differ, such as 'eval.' or 'train.fsdp'.
    allowed: complete dotted fields that the user allows to differ this time.
    replaces: whether any field may differ; those that differ are logged.

  Raises:
    ConfigError: another field differs, or the batch size, even if it is in `allowed`; the message is the diff.
    CheckpointError: the stored config is damaged.
  """
  path = workdir / 'config.json'
  if path.exists():
    changed = changes(workdir, config)
    if replaces and changed:
      log.warning('%s: the run in it has no checkpoint, so it begins anew with this config; other than before: %s',
                  workdir, _shown(changed))
    if 'batch_size' in changed and not replaces:
      old, new = changed['batch_size']
      raise ConfigError(f'config.batch_size={new}: the run in --workdir={workdir} has {old}, and its place in the '
                        'data follows from that; keep it, or choose another --workdir')
    refused = {field: values for field, values in changed.items()
               if field not in allowed and not field.startswith(free) and not replaces}
    if refused:
      raise ConfigError(f'--workdir={workdir}: holds a run with another config:{_shown(refused)}\nresume with the old '
                        'values, choose another --workdir, or accept with '
                        f'--allow_config_change={",".join(sorted(refused))}')
  write_atomic(path, json.dumps({'version': VERSION} | config, indent=1, sort_keys=True) + '\n')


def holds_run(workdir: Path) -> bool:
  return (workdir / 'config.json').exists() and (workdir / 'checkpoints').is_dir()


def load_config(workdir: Path) -> dict:
  """The stored config, with tuples where JSON has lists.

  Raises:
    ConfigError: there is none, or a later version of maskrep wrote it.
    CheckpointError: it is damaged.
  """
  path = workdir / 'config.json'
  if not path.exists():
    raise ConfigError(f'--workdir={workdir}: holds no config.json; give the workdir of a run of main.py')
  return _with_tuples(_read(path))


def changes(workdir: Path, config: dict) -> dict[str, tuple]:
  """`diff` of the stored config and this one, by the current names of the fields."""
  return diff(_read(workdir / 'config.json'), json.loads(json.dumps(config)))


def diff(old: dict, new: dict, prefix: str = '') -> dict[str, tuple]:
  """{dotted field: (old, new)} of the fields that differ; '(none)' if a side does not have the field."""
  changed = {}
  for name in old.keys() | new.keys():
    a, b = old.get(name, '(none)'), new.get(name, '(none)')
    if isinstance(a, dict) and isinstance(b, dict):
      changed |= diff(a, b, f'{prefix}{name}.')
    elif a != b:
      changed[f'{prefix}{name}'] = (a, b)
  return changed


def _shown(changed: dict[str, tuple]) -> str:
  return ''.join(f'\n  {field}: {old} -> {new}' for field, (old, new) in sorted(changed.items()))


def _with_tuples(value: Any) -> Any:
  if isinstance(value, dict):
    return {name: _with_tuples(each) for name, each in value.items()}
  return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def _read(path: Path) -> dict:
  """The fields in the file, by their current names, without the version."""
  try:
    config = json.loads(path.read_text())
    version = config.pop('version', 1) if isinstance(config, dict) else None
    if type(version) is not int or version < 1:
      raise ValueError('it holds no config')
  except (OSError, ValueError) as error:
    raise CheckpointError(f'{path}: is damaged or cannot be read ({error}); put back a copy of it, or choose another '
                          '--workdir') from error
  if version > VERSION:
    raise ConfigError(f'{path}: was written by version {version} of the config, and this maskrep reads up to version '
                      f'{VERSION}; update maskrep')
  if version < VERSION:
    log.warning('%s: was written by an earlier version of maskrep, and is read as version %d', path, VERSION)
    config = upgraded(config)
  return config
