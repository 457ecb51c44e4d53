"""Training and evaluation from Python: the same runs, folders and errors as the commands."""

from collections.abc import Mapping, Sequence
import copy
import difflib
import os
from pathlib import Path
from typing import Any

from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from maskrep.errors import ConfigError
from maskrep.evaluation.result import final_records
from maskrep.experiment import config_file, evaluation
from maskrep.experiment.run import run
from maskrep.process.paths import OR_IN_A_BUCKET, check_path
from maskrep.workdir.bucket import opened


def config(name: str, changes: Mapping[str, Any] | None = None) -> ConfigDict:
  """Loads the config of an experiment.

  >>> config = maskrep.config('msn_vitb16', {'masking.ratio': 0.5})
  >>> config.method, config.masking.ratio, config.views.size
  ('msn', 0.5, 224)

  Args:
    name: the name of a packaged config, or the path of a config file.
    changes: dotted fields and their values.

  Raises:
    ConfigError: there is no such config or field, or a value has another type.
  """
  return _changed(config_file.load(name), changes)


def train(
  config: str | ConfigDict, workdir: str | os.PathLike, changes: Mapping[str, Any] | None = None, *,
  allow_config_change: Sequence[str] = (),
) -> list[dict[str, Any]]:
  """Trains to the end, or resumes if `workdir` holds the same run.

  Prints the final table. Signals are left to the caller: in a notebook, an interrupt ends the call once all is saved.

  >>> changes = {'train.epochs': 0.1, 'encoder.depth': 1, 'eval.baselines': ('untrained',)}
  >>> rows = maskrep.train('msn_digits', 'runs/try', changes)  # doctest: +ELLIPSIS
  1 process(es), ...
  >>> [row['protocol'] for row in rows if row['features'] == 'trained']
  ['collapse', 'knn', 'lowshot']

  Args:
    config: a config, or a name or path as for `maskrep.config`.
    workdir: the folder of checkpoints, metrics and results.
    changes: dotted fields of the config and their values.
    allow_config_change: dotted fields that may differ from the config of the resumed run.

  Returns:
    The records of the final evaluation as in evaluations.jsonl, one per protocol and kind of features.

  Raises:
    RunError: the reason why the run ended before its end.
  """
  folder = _folder(workdir)
  loaded = config_file.load(config) if isinstance(config, str) else config
  run(_changed(loaded, changes), folder, allowed_changes=tuple(allow_config_change))
  return [record for records in final_records(folder).values() for record in records]


def evaluate(
  workdir: str | os.PathLike, protocol: str, changes: Mapping[str, Any] | None = None, *, config: str = ''
) -> dict[str, Any]:
  """Evaluates a trained or imported encoder, and appends the record to evaluations.jsonl in its folder.

  >>> record = maskrep.evaluate('runs/msn_digits', 'knn', {'knn.neighbours': (5,)})
  >>> [result['name'] for result in record['figures']]
  ['5 neighbours', 'Recall@1']

  Args:
    workdir: a run, or a folder that `maskrep import` wrote.
    protocol: such as 'knn', 'lowshot' or 'linear'; see `maskrep evaluate --help`.
    changes: dotted fields of the evaluation's config and their values.
    config: the name or path of the evaluation's config; '' is that of the protocol.

  Returns:
    The record as plain data. `figures` holds its results, the other fields everything that the results depend on.

  Raises:
    RunError: the encoder or the data does not exist, or does not fit the protocol.
  """
  if protocol not in evaluation.PROTOCOLS:
    raise ConfigError(f'{protocol!r}: must be one of {", ".join(evaluation.PROTOCOLS)}')
  loaded = _changed(config_file.load(config or protocol, config_file.EVALUATION), changes)
  return evaluation.evaluate(protocol, loaded.to_dict(), changes or {}, _folder(workdir))


def _changed(config: ConfigDict, changes: Mapping[str, Any] | None) -> ConfigDict:
  """A copy of a config with some values changed; fields that refer to these follow."""
  config = copy.deepcopy(config)
  fields = flatten_dict(config.to_dict(), sep='.')
  for field, value in (changes or {}).items():
    if field not in fields:
      near = difflib.get_close_matches(field, fields, 1)
      raise ConfigError(f'changes: the config has no field {field}; '
                        + (f'did you mean {near[0]}?' if near else f'the fields are {", ".join(fields)}'))
    try:
      config.update_from_flattened_dict({field: value})
    except (TypeError, ValueError) as error:
      raise ConfigError(f'changes: {field}={value!r}: must be of the type of {fields[field]!r}') from error
  return config


def _folder(workdir: str | os.PathLike) -> Path:
  check_path(repr(os.fspath(workdir)), os.fspath(workdir), OR_IN_A_BUCKET)
  return opened(workdir)
