"""The runs of a sweep: every combination of the values of its grids, named and checked before the first starts."""

from collections.abc import Callable, Sequence
import dataclasses
import hashlib
import itertools
from pathlib import Path
import re
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from maskrep.configs.base.sections import VIT_SIZES
from maskrep.errors import ConfigError
from maskrep.experiment.experiment import FREE_FIELDS, Experiment
from maskrep.sweep.outcome import finished
from maskrep.workdir.config import changes
from maskrep.workdir.progress import has_progress

Parse = Callable[[Sequence[str]], ConfigDict]

ENCODER = 'encoder'  # the grid of encoder sizes and patch sizes, instead of one field
VARIANT = 'variant'  # the grid of variants of the config file, which stand after a colon in --config
LONGEST_NAME = 150  # characters; file systems allow 255, and .log is added


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """One combination of values.

  Attributes:
    values: one per grid, in the order of the grids.
    arguments: command-line arguments of maskrep train.
  """

  workdir: Path
  values: dict[str, str]
  arguments: tuple[str, ...]
  config: dict[str, Any]

  @property
  def name(self) -> str:
    return self.workdir.name


def runs(given: flags.FlagValues, parse: Parse) -> list[Run]:
  """The product of `given.grid`, each with its own folder in `given.workdir`.

  Args:
    parse: reads the arguments of maskrep train into a config.

  Raises:
    ConfigError: a grid is malformed, a combination is not a valid config, or a folder holds another run.
  """
  flag = given['config']
  shared = {field: str(_value(given.config, field)) for field in config_flags.get_override_values(flag)}
  base = f'--config={config_flags.get_config_filename(flag)}'
  grids, taken = {}, set(shared) | ({VARIANT} if ':' in base else set())
  for text in given.grid:
    name, values = _grid(text, given.config, (base, *_flags(shared)), parse)
    fields = set().union(*values.values())
    if name in grids or taken & fields:
      field = name if name in grids else f'config.{min(taken & fields)}'
      raise ConfigError(f'--grid {text}: {field} is set by another --grid or --config flag too; leave one')
    grids[name] = values
    taken |= fields
  return [_run(Path(given.workdir), dict(zip(grids, names, strict=True)), base, shared, grids, parse)
          for names in itertools.product(*grids.values())]


def run_name(values: dict[str, str]) -> str:
  """The folder name of a run, made of letters, digits and . _ = - only; different values give different names."""
  whole = '--'.join(f'{name}={value}' for name, value in values.items())
  name = re.sub(r'[^A-Za-z0-9._=-]+', '_', whole)[:LONGEST_NAME]
  return name if name == whole else f'{name}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}'


def _run(
  folder: Path, values: dict[str, str], base: str, shared: dict[str, str], grids: dict, parse: Parse
) -> Run:
  name = run_name(values)
  fields = dict(shared)
  for grid, value in values.items():
    fields |= grids[grid][value]
  if VARIANT in fields:
    base += f':{fields.pop(VARIANT)}'
  arguments = (base, *_flags(fields))
  try:
    experiment = Experiment.parse(parse(arguments))
  except ConfigError as error:
    raise ConfigError(f'--grid, run {name}: {error}') from error
  run = Run(workdir=folder / name, values=values, arguments=(*arguments, f'--workdir={folder / name}'),
            config=experiment.config)
  _check_same(run)
  return run


def _check_same(run: Run) -> None:
  """Raises ConfigError if the folder has progress with another config; a finished run would not be started again."""
  if not (run.workdir / 'config.json').exists() or not has_progress(run.workdir):
    return
  free = tuple(field for field in FREE_FIELDS if not (finished(run.workdir) and field.startswith('eval.')))
  changed = changes(run.workdir, run.config)
  if refused := sorted(field for field in changed if not field.startswith(free)):
    shown = ', '.join(f'{field} was {changed[field][0]} and is {changed[field][1]}' for field in refused)
    raise ConfigError(f'--workdir={run.workdir.parent}: {run.name} holds a run with another config ({shown}); give '
                      'the previous values, or choose another --workdir')


def _grid(
  text: str, config: ConfigDict, arguments: Sequence[str], parse: Parse
) -> tuple[str, dict[str, dict[str, str]]]:
  """'NAME=V1,V2' -> NAME and {value: {field: its text}}, with the values as the config writes them."""
  name, equals, listed = text.partition('=')
  # Commas within brackets belong to a value: tuples of a config.
  texts = [value.strip() for value in re.split(r',(?![^(\[]*[)\]])', listed)]
  if not name or not equals or not all(texts):
    raise ConfigError(f'--grid {text}: must be NAME=VALUE,VALUE, with a value between any two commas')
  values = {}
  for value in texts:
    if name == ENCODER:
      fields = _encoder(text, value, config)
    elif name == VARIANT:
      fields = {VARIANT: value}
    else:
      _check_field(text, name, config)
      parsed = parse((*arguments, f'--config.{name}={value}'))
      fields = {name: str(_value(parsed, name))}
    value = value.lower() if name == ENCODER else fields[name]
    if value in values:
      raise ConfigError(f'--grid {text}: {value} is given twice; leave one')
    values[value] = fields
  return name, values


def _encoder(text: str, value: str, config: ConfigDict) -> dict[str, str]:
  """Returns the fields that a name such as vit_s16 sets."""
  sizes = {size.lower(): size for size in VIT_SIZES}
  match = re.fullmatch(r'vit_([a-z]+)([1-9]\d*)', value.lower())
  if not match or match[1] not in sizes:
    raise ConfigError(f'--grid {text}: {value!r} is not an encoder; name a size and a patch size: '
                      f'{", ".join(f"vit_{size}16" for size in sizes)}')
  fields = config.get('encoder')
  if not isinstance(fields, ConfigDict) or not {'width', 'depth', 'heads', 'patch_size'} <= set(fields):
    raise ConfigError(f'--grid {text}: method {config.get("method")!r} has no encoder with patches; vary its own '
                      'fields')
  shape = zip(('width', 'depth', 'heads'), VIT_SIZES[sizes[match[1]]], strict=True)
  return {f'encoder.{field}': str(size) for field, size in shape} | {'encoder.patch_size': match[2]}


def _check_field(text: str, name: str, config: ConfigDict) -> None:
  at = config
  for part in name.split('.'):
    if not isinstance(at, ConfigDict) or part not in at:
      known = ', '.join(at) if isinstance(at, ConfigDict) else 'none'
      raise ConfigError(f'--grid {text}: the config has no field {name}; the fields there are {known}')
    at = at[part]
  if isinstance(at, ConfigDict):
    raise ConfigError(f'--grid {text}: {name} is a section; name one of its fields {", ".join(at)}')


def _value(config: Any, field: str) -> Any:
  """The value of a dotted field of a ConfigDict."""
  for part in field.split('.'):
    config = config[part]
  return config


def _flags(fields: dict[str, str]) -> list[str]:
  return [f'--config.{field}={value}' for field, value in fields.items()]
