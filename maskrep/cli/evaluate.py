"""Judges a trained or imported encoder by one protocol: python -m maskrep evaluate PROTOCOL --workdir=DIR

What it finds is printed, and added to DIR/evaluations.jsonl with all that it takes to repeat it: see maskrep.report.
"""

from collections.abc import Callable
import dataclasses
from pathlib import Path
import re
import time
from typing import Any, NamedTuple

from absl import flags
import jax
from ml_collections import ConfigDict, config_flags

from maskrep.cli import command
from maskrep.data.datasets import Data
from maskrep.devices import distributed
from maskrep.errors import CheckpointError, ConfigError
from maskrep.evaluation import result
from maskrep.evaluation.extractor import Encoding, Subject
from maskrep.evaluation.protocols.lowshot import LowShot, LowShotMasked, lowshot, lowshot_masked
from maskrep.evaluation.protocols.mask_similarity import MaskSimilarity, mask_similarity
from maskrep.evaluation.protocols.nearest import KNN, Retrieval, knn, retrieval
from maskrep.evaluation.protocols.robustness import Robustness, robustness
from maskrep.evaluation.protocols.transfer import Transfer, transfer
from maskrep.experiment import build, plan, probe, run, stored
from maskrep.weights.pretrained import Pretrained
from maskrep.workdir.config import holds_run
from maskrep.workdir.folder import make_writable
from maskrep.workdir.starts import describe_start

EXAMPLE = 'python -m maskrep evaluate lowshot --workdir=runs/msn_digits'
DEFAULTS = Path('configs') / 'evaluation'
FIELDS = 'protocol', 'seed', 'compute_dtype', 'data', 'encoding'  # of every protocol that does not train


class Frozen(NamedTuple):
  """A protocol that leaves the encoder as it is."""

  options: type
  examine: Callable[..., list[result.Figure]]  # (subject, options, seed=)


FROZEN = {
  'knn': Frozen(KNN, knn), 'retrieval': Frozen(Retrieval, retrieval), 'lowshot': Frozen(LowShot, lowshot),
  'lowshot_masked': Frozen(LowShotMasked, lowshot_masked),
  'mask_similarity': Frozen(MaskSimilarity, mask_similarity), 'transfer': Frozen(Transfer, transfer),
  'robustness': Frozen(Robustness, robustness),
}
TRAINED = 'linear', 'partial', 'finetune', 'segmentation'
PROTOCOLS = (*FROZEN, *TRAINED)


def parse(argv: list[str]) -> tuple[str, flags.FlagValues]:
  """The protocol and the flags.

  Raises:
    ConfigError: there is no such protocol, flag or field.
  """
  protocol = argv[1] if len(argv) > 1 else ''
  if protocol not in PROTOCOLS:
    raise ConfigError(f'{protocol or "PROTOCOL"}: must be one of {", ".join(PROTOCOLS)}, as in {EXAMPLE}')
  argv = [argv[0], *argv[2:]]
  if not any(re.match('--?config(=|$)', argument) for argument in argv):
    argv.insert(1, f'--config={DEFAULTS / protocol}.py')
  values = flags.FlagValues()
  config_flags.DEFINE_config_file(
    'config', None, f'Of the evaluation, {DEFAULTS}/PROTOCOL.py unless given; change a field with '
    '--config.SECTION.FIELD=VALUE.', flag_values=values, sys_argv=argv)
  flags.DEFINE_string('workdir', None, 'A run, or a folder that maskrep import wrote.', flag_values=values)
  command.define_processes(values)
  command.parse(argv, values, ('workdir',), EXAMPLE)
  if (asked := values.config.get('protocol', protocol)) != protocol:
    raise ConfigError(f'config.protocol={asked!r}: is what this config is for, and not {protocol}; give one of both')
  return protocol, values


def evaluate(argv: list[str]) -> None:
  """Runs one protocol, prints what it finds and adds it to evaluations.jsonl.

  Raises:
    RunError: there is no such encoder or data, or they do not fit the protocol.
  """
  protocol, values = parse(argv)
  distributed.initialize(values.coordinator, values.num_processes, values.process_id, values.start_timeout_s)
  run.cache_compilations()
  config, folder, started = values.config, Path(values.workdir).expanduser(), time.monotonic()
  changed = config_flags.get_override_values(values['config'])
  examine = _frozen if protocol in FROZEN else _trained
  if jax.process_index() == 0 and folder.is_dir():
    make_writable(folder)
  try:
    figures, said = examine(protocol, config, changed, folder)
    if jax.process_index():
      return
    start = describe_start('')
    result.append(
      folder, figures, protocol=protocol, time=start.pop('time'), seconds=round(time.monotonic() - started, 3),
      seed=config.seed, **said, run={name: value for name, value in start.items() if name != 'data'})
  except OSError as error:
    raise CheckpointError(f'--workdir={folder}: cannot be written any more ({error}); free space or mend the disk, '
                          'then run the same command') from error
  print(result.render(figures))


def _frozen(
  protocol: str, config: ConfigDict, changed: dict[str, Any], folder: Path
) -> tuple[list[result.Figure], dict]:
  plan.check_sections(config, (*FIELDS, protocol))
  options = build.section(FROZEN[protocol].options, config[protocol], protocol)
  encoding = build.section(Encoding, config.encoding, 'encoding')
  pretrained, dtype = _pretrained(folder, encoding.network), build.compute_dtype(config)
  data = build.section(Data, _data(config, changed, folder, pretrained), 'data')
  subject = Subject(workdir=folder, pretrained=pretrained, encoding=encoding, data=data, seed=config.seed, dtype=dtype)
  figures = FROZEN[protocol].examine(subject, options, seed=config.seed)
  said = subject.said
  return figures, {
    'encoder': _encoder(folder, pretrained) | {'digest': said['digest']}, 'encoding': said['encoding'],
    'data': dataclasses.asdict(data) | {'images': subject.images},
    'settings': dataclasses.asdict(options)}


def _trained(
  protocol: str, config: ConfigDict, changed: dict[str, Any], folder: Path
) -> tuple[list[result.Figure], dict]:
  pretrained = _pretrained(folder, 'ema')
  configs = probe.configs(config, folder, pretrained, _data(config, changed, folder, pretrained))
  digest = stored.digest(pretrained.arrays)
  figures = probe.train(protocol, configs, folder, digest)
  settings = configs[0].to_dict()
  used = {name: settings['views'][name] for name in ('size', 'mean', 'std')}
  return figures, {
    'encoder': _encoder(folder, pretrained) | {'digest': digest},
    'encoding': used | {'crop_fraction': settings['eval']['crop_fraction'], 'filter': 'bilinear',
                        'high_pass_sigma': settings['objective'].get('sigma', 0)},
    'data': settings.pop('data'),
    'settings': settings | {'learning_rates': [config.optim.learning_rate for config in configs]}}


def _pretrained(folder: Path, network: str) -> Pretrained:
  pretrained, _ = stored.pretrained(f'--workdir={folder}', folder, network)
  return pretrained


def _data(config: ConfigDict, changed: dict[str, Any], folder: Path, pretrained: Pretrained) -> ConfigDict:
  """The section of the data: where it names no source, that of the run, with what the command line has `changed`."""
  if config.data.source:
    return config.data
  if not holds_run(folder):
    raise ConfigError(f"config.data.source='': means the data of a run, and --workdir={folder} holds an import; name "
                      'the data, or give a --config that does')
  ours = {field.partition('.')[2]: value for field, value in changed.items() if field.startswith('data.')}
  return ConfigDict(pretrained.source['config']['data'] | ours)


def _encoder(folder: Path, pretrained: Pretrained) -> dict:
  """Which encoder it was, as plain data."""
  source = pretrained.source
  return {'workdir': str(folder), 'kind': pretrained.kind, 'sizes': pretrained.config, 'step': source.get('step'),
          'network': 'online' if source.get('weights') == 'online' else 'ema',
          'method': source.get('config', {}).get('method')}


def main(argv: list[str]) -> int:
  return command.answer(evaluate, argv)

