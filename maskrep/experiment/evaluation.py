"""Evaluates a trained or imported encoder by one protocol, and records the results in its workdir."""

from collections.abc import Mapping
import dataclasses
import functools
from pathlib import Path
import time
from typing import Any

import jax

from maskrep.data.datasets import Data
from maskrep.errors import CheckpointError, ConfigError
from maskrep.evaluation.encoders import StoredEncoder
from maskrep.evaluation.encoding import Encoding
from maskrep.evaluation.evaluator import Evaluator
from maskrep.evaluation.protocols import table
from maskrep.evaluation.result import LATER, TRAINED, Result, append
from maskrep.experiment import probe, stored, vtab
from maskrep.experiment.experiment import Experiment
from maskrep.schema import NonNegativeInt, Reader
from maskrep.weights.pretrained import Pretrained, digest
from maskrep.workdir.bucket import in_bucket
from maskrep.workdir.config import holds_run
from maskrep.workdir.folder import make_writable
from maskrep.workdir.starts import describe_start

TRAINED_PROTOCOLS = 'linear', 'partial', 'finetune', 'segmentation'
PROTOCOLS = (*table.PROTOCOLS, *TRAINED_PROTOCOLS, vtab.PROTOCOL)


def evaluate(protocol: str, config: Mapping[str, Any], changed: Mapping[str, Any], folder: Path) -> dict[str, Any]:
  """Runs a protocol on the encoder in a folder; returns the record that it appends to evaluations.jsonl.

  Args:
    protocol: one of `PROTOCOLS`.
    config: the evaluation, in the form of configs/evaluation/PROTOCOL.py, as plain data.
    changed: dotted fields of `config` that the user has set; those of `data` also override the data section of a run.
    folder: the workdir of a run, or the folder of an import.

  Raises:
    RunError: the encoder or the data does not exist or does not fit the protocol, or the folder cannot be written.
  """
  started = time.monotonic()
  by_protocol = (_by_features if protocol in table.PROTOCOLS else
                 _by_tasks if protocol == vtab.PROTOCOL else _by_training)
  if in_bucket(folder) and protocol not in table.PROTOCOLS:
    raise ConfigError(f'--workdir={folder}: {protocol} trains runs of its own, which it cannot in a bucket; copy '
                      'the run to this machine, and give its folder')
  first = jax.process_index() == 0
  try:
    if first and folder.is_dir():
      make_writable(folder)
    results, fields = by_protocol(protocol, config, changed, folder)
    start = describe_start('')
    record = {
      'protocol': protocol, 'stage': LATER, 'step': fields['encoder']['step'], 'features': TRAINED,
      'time': start.pop('time'), 'seconds': round(time.monotonic() - started, 3), 'seed': config['seed']} | fields | {
        'run': {name: value for name, value in start.items() if name != 'data'}}
    return append(folder, record, results, write=first)
  except OSError as error:
    raise CheckpointError(f'--workdir={folder}: cannot be written any more ({error}); free space or repair the disk, '
                          'then run the same command') from error


def _by_features(
  protocol: str, config: Mapping[str, Any], changed: Mapping[str, Any], folder: Path
) -> tuple[list[Result], dict]:
  """The results of a protocol, and the fields of its record."""
  read = Reader(config)
  read.value('protocol', str)
  seed, encoding = read.value('seed', NonNegativeInt), read('encoding', Encoding)
  options, dtype, section = read(protocol, table.PROTOCOLS[protocol].options), read.dtype, read.section('data')
  read.finish()
  pretrained = _pretrained(folder, encoding.network)
  data, what = read.build('data', Data, _data(section, changed, folder, pretrained)), f'--workdir={folder}'
  evaluator = Evaluator.stored(
    folder, StoredEncoder(what=what, pretrained=pretrained, encoding=encoding, dtype=dtype), data, seed=seed,
    load_objective=functools.partial(stored.trained_classifier, what, folder))
  results = table.PROTOCOLS[protocol].evaluate(evaluator, options, seed=seed)
  record = evaluator.record
  return results, {
    'encoder': _encoder(folder, pretrained) | {'digest': record['digest']}, 'encoding': record['encoding'],
    'data': dataclasses.asdict(data) | {'images': evaluator.images},
    'settings': dataclasses.asdict(options)}


def _by_training(
  protocol: str, config: Mapping[str, Any], changed: Mapping[str, Any], folder: Path
) -> tuple[list[Result], dict]:
  """The results of a protocol, and the fields of its record."""
  pretrained = _pretrained(folder, 'ema')
  experiments = probe.experiments(
    config, folder, pretrained, _data(config.get('data', {}), changed, folder, pretrained))
  encoder_digest = digest(pretrained.arrays)
  results = probe.train(protocol, experiments, folder, encoder_digest)
  settings = dict(experiments[0].config)
  return results, {
    'encoder': _encoder(folder, pretrained) | {'digest': encoder_digest},
    'encoding': dataclasses.asdict(experiments[0].objective.preprocessing),
    'data': {name: value for name, value in settings.pop('data').items() if name != 'list'},
    'settings': settings | {
      'learning_rates': list(dict.fromkeys(experiment.optim.learning_rate for experiment in experiments)),
      'seeds': list(dict.fromkeys(experiment.seed for experiment in experiments)),
      'lists': list(dict.fromkeys(experiment.data.list for experiment in experiments if experiment.data.list))}}


def _by_tasks(
  protocol: str, config: Mapping[str, Any], changed: Mapping[str, Any], folder: Path
) -> tuple[list[Result], dict]:
  """The results of a protocol, and the fields of its record."""
  candidates, pretrained = vtab.read_candidates(config), _pretrained(folder, 'ema')
  tasks = vtab.open_tasks(
    config, folder, pretrained, _data(config.get('data', {}), changed, folder, pretrained), candidates)
  encoder_digest = digest(pretrained.arrays)
  results = vtab.train(tasks, candidates.settings, folder, encoder_digest)
  first = next(iter(tasks.values())).config
  return results, {
    'encoder': _encoder(folder, pretrained) | {'digest': encoder_digest},
    'encoding': dataclasses.asdict(Experiment.parse(first).objective.preprocessing),
    'data': first['data'] | {'images': {name: task.images for name, task in tasks.items()}},
    'settings': {name: value for name, value in first.items() if name != 'data'} | dataclasses.asdict(candidates)}


def _pretrained(folder: Path, network: str) -> Pretrained:
  pretrained, _ = stored.pretrained(f'--workdir={folder}', folder, network)
  return pretrained


def _data(
  section: Mapping[str, Any], changed: Mapping[str, Any], folder: Path, pretrained: Pretrained
) -> dict[str, Any]:
  """The data section: if it names no source, the run's, with the fields that the command line has `changed`."""
  if section.get('source', ''):
    return dict(section)
  if not holds_run(folder):
    raise ConfigError(f"config.data.source='': means the data of a run, but --workdir={folder} holds an import; name "
                      'the data, or give a --config that does')
  overrides = {field.partition('.')[2]: value for field, value in changed.items() if field.startswith('data.')}
  return pretrained.source['config']['data'] | overrides


def _encoder(folder: Path, pretrained: Pretrained) -> dict:
  """The evaluated encoder, as plain data."""
  source = pretrained.source
  return {'workdir': str(folder), 'kind': pretrained.kind, 'sizes': pretrained.config, 'step': source.get('step'),
          'network': 'online' if source.get('weights') == 'online' else 'ema',
          'method': source.get('config', {}).get('method'), 'class_names': source.get('class_names')}
