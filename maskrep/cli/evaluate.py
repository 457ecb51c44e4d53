"""Evaluates a trained or imported encoder by one protocol.

Prints the results and appends them to evaluations.jsonl in its folder, with all that is needed to repeat them.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from pathlib import Path
import re
import time
from typing import Any, NamedTuple

from absl import flags
import jax
from ml_collections import config_flags

from maskrep.cli import command
from maskrep.cli.config_file import define_config
from maskrep.cli.help import Page
from maskrep.data.datasets import Data
from maskrep.devices import distributed
from maskrep.devices.agreement import check_same
from maskrep.errors import CheckpointError, ConfigError
from maskrep.evaluation import result
from maskrep.evaluation.extractor import Encoding, FeatureExtractor
from maskrep.evaluation.protocols.lowshot import LowShot, LowShotMasked, lowshot, lowshot_masked
from maskrep.evaluation.protocols.mask_similarity import MaskSimilarity, mask_similarity
from maskrep.evaluation.protocols.nearest import KNN, Retrieval, knn, retrieval
from maskrep.evaluation.protocols.robustness import Robustness, robustness
from maskrep.evaluation.protocols.transfer import Transfer, transfer
from maskrep.experiment import probe, same, stored
from maskrep.experiment.config_file import EVALUATION
from maskrep.experiment.run import cache_compilations
from maskrep.schema import NonNegativeInt, Reader
from maskrep.weights.pretrained import Pretrained, digest
from maskrep.workdir.config import holds_run
from maskrep.workdir.folder import make_writable
from maskrep.workdir.starts import describe_start

PROTOCOLS = {
  'knn': 'weighted k-NN, for several k',
  'retrieval': 'Recall@1',
  'lowshot': 'logistic regression on a few labels per class, a share of the labels, or lists of images',
  'lowshot_masked': 'the same, fitted to features of masked images',
  'mask_similarity': "cosine similarity of a masked and the whole image's representation",
  'transfer': 'other data sets by name: logistic regression, or Recall@1',
  'robustness': 'a classifier of ImageNet-1k on ImageNet-A, -R, -Sketch, -V2, -ReaL and -C',
  'linear': 'trains a linear classifier on the frozen encoder',
  'partial': 'trains the last block, the final norm and a classifier',
  'finetune': 'trains the encoder and a classifier',
  'segmentation': 'trains a linear layer on patch tokens',
}


class Protocol(NamedTuple):
  """A protocol that does not train the encoder: its options, and the function that runs it."""

  options: type
  evaluate: Callable[..., list[result.Result]]  # (extractor, options, seed=)


FEATURE_PROTOCOLS = {
  'knn': Protocol(KNN, knn), 'retrieval': Protocol(Retrieval, retrieval), 'lowshot': Protocol(LowShot, lowshot),
  'lowshot_masked': Protocol(LowShotMasked, lowshot_masked),
  'mask_similarity': Protocol(MaskSimilarity, mask_similarity), 'transfer': Protocol(Transfer, transfer),
  'robustness': Protocol(Robustness, robustness),
}
TRAINED_PROTOCOLS = 'linear', 'partial', 'finetune', 'segmentation'


def define(values: flags.FlagValues, argv: list[str]) -> None:
  define_config(values, argv, 'The evaluation, by default that with the name of the protocol; change a field with '
                '--config.SECTION.FIELD=VALUE.', EVALUATION)
  flags.DEFINE_string('workdir', None, 'A run, or a folder written by maskrep import.', flag_values=values)
  command.define_processes(values)


PAGE = Page(
  usage='maskrep evaluate PROTOCOL --workdir=DIR [--config=NAME|FILE]', doc=__doc__,
  examples=('maskrep evaluate lowshot --workdir=runs/msn_digits',
            'maskrep evaluate knn --workdir=weights/msn_vitb16 --config.data.source=tfds:imagenet2012',
            'maskrep evaluate linear --workdir=runs/msn_vitb16 --config=linear_msn'),
  define=define, choices=PROTOCOLS)


def parse(argv: list[str]) -> tuple[str, flags.FlagValues]:
  """Returns the protocol and the flags.

  Raises:
    ConfigError: the protocol, a flag or a field does not exist.
  """
  protocol, argv = command.choose(argv, PAGE)
  if not any(re.match('--?config(=|$)', argument) for argument in argv):
    argv.insert(1, f'--config={protocol}')
  values = command.parse(argv, PAGE, ('workdir',))
  if (other := values.config.get('protocol', protocol)) != protocol:
    raise ConfigError(f'config.protocol={other!r}: is the protocol of this config, and not {protocol}; change either')
  return protocol, values


def evaluate(argv: list[str]) -> None:
  """Runs one protocol, prints its results and appends them to evaluations.jsonl.

  Raises:
    RunError: the encoder or the data does not exist, or does not fit the protocol.
  """
  protocol, values = parse(argv)
  distributed.initialize(values.coordinator, values.num_processes, values.process_id, values.start_timeout_s)
  cache_compilations()
  config, folder, started = values.config.to_dict(), Path(values.workdir).expanduser(), time.monotonic()
  check_same(same.of_config(config, describe_start('')))
  changed = config_flags.get_override_values(values['config'])
  by_protocol = _by_features if protocol in FEATURE_PROTOCOLS else _by_training
  if jax.process_index() == 0 and folder.is_dir():
    make_writable(folder)
  try:
    results, fields = by_protocol(protocol, config, changed, folder)
    if jax.process_index():
      return
    start = describe_start('')
    result.append(
      folder, results, protocol=protocol, time=start.pop('time'), seconds=round(time.monotonic() - started, 3),
      seed=config['seed'], **fields, run={name: value for name, value in start.items() if name != 'data'})
  except OSError as error:
    raise CheckpointError(f'--workdir={folder}: cannot be written any more ({error}); free space or mend the disk, '
                          'then run the same command') from error
  print(result.render(results))


def _by_features(
  protocol: str, config: Mapping[str, Any], changed: Mapping[str, Any], folder: Path
) -> tuple[list[result.Result], dict]:
  """The results of a protocol, and the fields of its record."""
  read = Reader(config)
  read.value('protocol', str)
  seed, encoding = read.value('seed', NonNegativeInt), read('encoding', Encoding)
  options, dtype, section = read(protocol, FEATURE_PROTOCOLS[protocol].options), read.dtype, read.section('data')
  read.finish()
  pretrained = _pretrained(folder, encoding.network)
  data = read.build('data', Data, _data(section, changed, folder, pretrained))
  extractor = FeatureExtractor(
    workdir=folder, pretrained=pretrained, encoding=encoding, data=data, seed=seed, dtype=dtype,
    load_classifier=functools.partial(stored.trained_classifier, f'--workdir={folder}', folder))
  results = FEATURE_PROTOCOLS[protocol].evaluate(extractor, options, seed=seed)
  record = extractor.record
  return results, {
    'encoder': _encoder(folder, pretrained) | {'digest': record['digest']}, 'encoding': record['encoding'],
    'data': dataclasses.asdict(data) | {'images': extractor.images},
    'settings': dataclasses.asdict(options)}


def _by_training(
  protocol: str, config: Mapping[str, Any], changed: Mapping[str, Any], folder: Path
) -> tuple[list[result.Result], dict]:
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
    'data': settings.pop('data'),
    'settings': settings | {'learning_rates': [experiment.optim.learning_rate for experiment in experiments]}}


def _pretrained(folder: Path, network: str) -> Pretrained:
  pretrained, _ = stored.pretrained(f'--workdir={folder}', folder, network)
  return pretrained


def _data(
  section: Mapping[str, Any], changed: Mapping[str, Any], folder: Path, pretrained: Pretrained
) -> dict[str, Any]:
  """The data section: if it names no source, that of the run, with the fields that the command line has `changed`."""
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


def main(argv: list[str]) -> int:
  return command.run_command(evaluate, argv)
