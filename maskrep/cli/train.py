"""Trains the experiment of a config, or resumes it.

The same command resumes an interrupted run; the result is the same, bit for bit.
"""

import importlib.util
from pathlib import Path
import re
import time

from absl import flags

from maskrep.cli import command
from maskrep.cli.config_file import define_config
from maskrep.cli.cost import cost
from maskrep.cli.help import Page, training_fields
from maskrep.devices import allocator
from maskrep.errors import ConfigError
from maskrep.process import heartbeat
from maskrep.workdir.bucket import in_bucket, opened

TRACKERS = ('wandb', 'mlflow', 'trackio')  # train/track.py has them; that imports flax


def define(values: flags.FlagValues, argv: list[str]) -> None:
  define_config(values, argv)
  flags.DEFINE_string(
    'workdir', None, 'The folder of checkpoints, metrics and results; a run in it is resumed.', flag_values=values)
  flags.DEFINE_list(
    'allow_config_change', [], 'Fields, as SECTION.FIELD, that may differ from the config of the resumed run.',
    flag_values=values)
  command.define_processes(values)
  flags.DEFINE_string('heartbeat', None, 'A file to touch every minute, for the liveness probe of a cluster.',
                      flag_values=values)
  flags.DEFINE_string('profile_steps', None, 'FIRST:LAST, as 20:25: a trace of these steps, in WORKDIR/profile, for '
                      'xprof or TensorBoard.', flag_values=values)
  flags.DEFINE_enum('track', None, list(TRACKERS), 'Sends the metrics to a tracker too; needs the package of its name.',
                    flag_values=values)
  flags.DEFINE_bool('dry_run', False, 'Compile the step and print its cost, as maskrep cost does; needs no --workdir.',
                    flag_values=values)
  flags.DEFINE_integer('devices', None, 'With --dry_run: the number of devices, simulated on the CPU.',
                       lower_bound=1, flag_values=values)
  flags.DEFINE_string('topology', None, 'With --dry_run: accelerators that are not here, see maskrep cost --help.',
                      flag_values=values)


PAGE = Page(
  usage='maskrep train --config=NAME|FILE --workdir=DIR [--config.SECTION.FIELD=VALUE ...]', doc=__doc__,
  examples=('maskrep train --config=msn_digits --workdir=runs/msn_digits',
            'maskrep train --config=msn_vitb16 --workdir=runs/b16 --config.masking.ratio=0.3'),
  define=define, fields=training_fields, bucket=True)


def parse(argv: list[str]) -> flags.FlagValues:
  """Reads the command line.

  Raises:
    ConfigError: a flag or a config field does not exist, or a value has another type.
  """
  values = command.parse(argv, PAGE)
  for name in ('devices', 'topology'):
    if (value := getattr(values, name)) and not values.dry_run:
      raise ConfigError(f'--{name}={value}: is for --dry_run; a run uses all devices')
  if values.config is None or (values.workdir is None and not values.dry_run):
    raise ConfigError(f'--config and --workdir: both are needed, as in {PAGE.examples[0]}')
  if profile_steps(values.profile_steps) and values.workdir and in_bucket(values.workdir):
    raise ConfigError(f'--profile_steps={values.profile_steps}: a trace cannot be written into a bucket; give a '
                      '--workdir on this machine')
  if values.track and importlib.util.find_spec(values.track) is None:
    raise ConfigError(f"--track={values.track}: is not installed; pip install {values.track}")
  if values.track and in_bucket(values.workdir or ''):
    raise ConfigError(f'--track={values.track}: keeps files in the workdir, which may not be in a bucket; give a '
                      '--workdir on this machine, or leave --track out')
  return values


def profile_steps(given: str | None) -> tuple[int, int] | None:
  """The first and the last step of a trace.

  Raises:
    ConfigError: they are not two steps.
  """
  if given is None:
    return None
  if not (found := re.fullmatch(r'(\d+):(\d+)', given)) or not 1 <= int(found[1]) <= int(found[2]):
    raise ConfigError(f'--profile_steps={given}: must be FIRST:LAST, two steps from 1, as 20:25')
  return int(found[1]), int(found[2])


def train(argv: list[str]) -> None:
  started = time.monotonic() - time.process_time()  # importing this file took the CPU time used so far
  values = parse(argv)
  allocator.keep_pages()
  if values.dry_run:
    cost(values.config, values.devices, values.topology)
    return
  if values.heartbeat:
    heartbeat.beat(Path(values.heartbeat))
  # Imported only now: once the allocator is set, and so that a misspelt flag is reported at once.
  from maskrep.devices import distributed
  from maskrep.experiment import run

  distributed.initialize(values.coordinator, values.num_processes, values.process_id, values.start_timeout_s)
  run.run(values.config, opened(values.workdir), allowed_changes=tuple(values.allow_config_change), started=started,
          profile_steps=profile_steps(values.profile_steps), track=values.track)


def main(argv: list[str]) -> int:
  """Returns the exit code: see docs/reference.md."""
  return command.run_command(train, argv)
