"""Evaluates a trained or imported encoder by one protocol: python -m maskrep evaluate PROTOCOL --workdir=DIR

Prints the results and appends them to DIR/evaluations.jsonl, with all that is needed to repeat them.
"""

from pathlib import Path
import re

from absl import flags
import jax
from ml_collections import config_flags

from maskrep.cli import command
from maskrep.cli.config_file import define_config
from maskrep.devices import distributed
from maskrep.devices.agreement import check_same
from maskrep.errors import ConfigError
from maskrep.evaluation.result import render, results_of
from maskrep.experiment import evaluation as experiment
from maskrep.experiment import same
from maskrep.experiment.evaluation import PROTOCOLS
from maskrep.experiment.run import cache_compilations
from maskrep.workdir.starts import describe_start

EXAMPLE = 'python -m maskrep evaluate lowshot --workdir=runs/msn_digits'
DEFAULTS = Path('configs') / 'evaluation'


def parse(argv: list[str]) -> tuple[str, flags.FlagValues]:
  """Returns the protocol and the flags.

  Raises:
    ConfigError: the protocol, a flag or a field does not exist.
  """
  protocol = argv[1] if len(argv) > 1 else ''
  if protocol not in PROTOCOLS:
    raise ConfigError(f'{protocol or "PROTOCOL"}: must be one of {", ".join(PROTOCOLS)}, as in {EXAMPLE}')
  argv = [argv[0], *argv[2:]]
  if not any(re.match('--?config(=|$)', argument) for argument in argv):
    argv.insert(1, f'--config={DEFAULTS / protocol}.py')
  values = flags.FlagValues()
  define_config(values, argv, f'The evaluation, by default {DEFAULTS}/PROTOCOL.py; change a field with '
                '--config.SECTION.FIELD=VALUE.')
  flags.DEFINE_string('workdir', None, 'A run, or a folder written by maskrep import.', flag_values=values)
  command.define_processes(values)
  command.parse(argv, values, ('workdir',), EXAMPLE)
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
  config, folder = values.config.to_dict(), Path(values.workdir).expanduser()
  check_same(same.of_config(config, describe_start('')))
  record = experiment.evaluate(protocol, config, config_flags.get_override_values(values['config']), folder)
  if jax.process_index() == 0:
    print(render(results_of(record)))


def main(argv: list[str]) -> int:
  return command.run_command(evaluate, argv)
