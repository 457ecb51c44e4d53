"""Trains the experiment of a config, or resumes it: python main.py --config=FILE --workdir=DIR"""

import os
from pathlib import Path
import time

from absl import flags

from maskrep.cli import command
from maskrep.cli.config_file import define_config
from maskrep.devices import allocator
from maskrep.errors import ConfigError

EXAMPLE = 'python main.py --config=configs/msn_digits.py --workdir=runs/msn_digits'


def parse(argv: list[str]) -> flags.FlagValues:
  """Reads the command line.

  Raises:
    ConfigError: a flag or a config field does not exist, or a value has another type.
  """
  values = flags.FlagValues()
  define_config(values, argv, 'The experiment; change a field with --config.SECTION.FIELD=VALUE.')
  flags.DEFINE_string(
    'workdir', None, 'The folder of checkpoints, metrics and results; a run in it is resumed.', flag_values=values)
  flags.DEFINE_list(
    'allow_config_change', [], 'Fields, as SECTION.FIELD, that may differ from the config of the resumed run.',
    flag_values=values)
  command.define_processes(values)
  flags.DEFINE_bool('dry_run', False, 'Compile the step and print the cost of the run, without data or --workdir.',
                    flag_values=values)
  flags.DEFINE_integer('devices', None, 'With --dry_run: the number of devices, simulated on the CPU.',
                       lower_bound=1, flag_values=values)
  command.parse(argv, values, (), EXAMPLE)
  if values.devices and not values.dry_run:
    raise ConfigError(f'--devices={values.devices}: is for --dry_run; a run uses all devices')
  if values.config is None or (values.workdir is None and not values.dry_run):
    raise ConfigError(f'--config and --workdir: both are needed, as in {EXAMPLE}')
  return values


def train(argv: list[str]) -> None:
  started = time.monotonic() - time.process_time()  # importing this file took the CPU time used so far
  values = parse(argv)
  allocator.keep_pages()
  if values.devices:
    os.environ['JAX_PLATFORMS'] = 'cpu'
    os.environ['XLA_FLAGS'] = (
      f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count={values.devices}')
  # Imported only now: after the allocator is set, and so that a misspelt flag is reported at once.
  from maskrep.devices import distributed
  from maskrep.experiment import dry_run, run

  if values.dry_run:
    print(dry_run.dry_run(values.config))
    return
  distributed.initialize(values.coordinator, values.num_processes, values.process_id, values.start_timeout_s)
  run.run(values.config, Path(values.workdir), allowed_changes=tuple(values.allow_config_change), started=started)


def main(argv: list[str]) -> int:
  """Returns the exit code: see README.md."""
  return command.run_command(train, argv)
