"""config.json: the config that a run was started with, and what may differ from it when the run is resumed."""

import json
from pathlib import Path

from ml_collections import ConfigDict

from maskrep.errors import ConfigError
from maskrep.workdir.files import write_atomic

# Fields that may differ on resume: they change what is shown, kept or how fast, and what is computed only by round-off.
FREE_FIELDS = ('eval.', 'data.threads', 'data.download', 'data.stall_timeout_s', 'train.log_every_steps',
               'train.checkpoint_every_steps', 'train.keep_checkpoints', 'train.fsdp', 'encoder.remat', 'encoder.scan')


def store_config(workdir: Path, config: ConfigDict, allowed: tuple[str, ...] = ()) -> None:
  """Stores the config of a new run; on resume, compares with the stored one.

  Raises:
    ConfigError: the batch size differs, or a field that is neither free nor named in `allowed`; the message is the
      diff.
  """
  path = workdir / 'config.json'
  new = config.to_dict()
  if path.exists():
    changed = diff(json.loads(path.read_text()), json.loads(json.dumps(new)))
    if 'batch_size' in changed:
      old, now = changed['batch_size']
      raise ConfigError(f'config.batch_size={now}: the run in --workdir={workdir} has {old}, and its place in the '
                        'data follows from that; keep it, or choose another --workdir')
    refused = {field: values for field, values in changed.items()
               if field not in allowed and not field.startswith(FREE_FIELDS)}
    if refused:
      lines = ''.join(f'\n  {field}: {old} -> {now}' for field, (old, now) in sorted(refused.items()))
      raise ConfigError(f'--workdir={workdir}: holds a run with another config:{lines}\nresume with the old values, '
                        f'choose another --workdir, or accept with --allow_config_change={",".join(sorted(refused))}')
  write_atomic(path, json.dumps(new, indent=1, sort_keys=True) + '\n')


def holds_run(workdir: Path) -> bool:
  return (workdir / 'config.json').exists() and (workdir / 'checkpoints').is_dir()


def load_config(workdir: Path) -> ConfigDict:
  """The stored config, locked, with tuples where the config file had tuples.

  Raises:
    ConfigError: there is none.
  """
  path = workdir / 'config.json'
  if not path.exists():
    raise ConfigError(f'--workdir={workdir}: holds no config.json; give the workdir of a run of main.py')
  as_tuples = {key: {name: tuple(value) if isinstance(value, list) else value for name, value in section.items()}
               if isinstance(section, dict) else section for key, section in json.loads(path.read_text()).items()}
  return ConfigDict(as_tuples).lock()


def diff(old: dict, new: dict, prefix: str = '') -> dict[str, tuple]:
  """{dotted field: (old, new)} for what differs; '(none)' where a side has no such field."""
  changed = {}
  for name in old.keys() | new.keys():
    a, b = old.get(name, '(none)'), new.get(name, '(none)')
    if isinstance(a, dict) and isinstance(b, dict):
      changed |= diff(a, b, f'{prefix}{name}.')
    elif a != b:
      changed[f'{prefix}{name}'] = (a, b)
  return changed
