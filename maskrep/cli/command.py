"""Command lines: parses flags into values, and turns errors into one line and an exit code."""

from collections.abc import Callable
import re
import sys
import traceback

from absl import flags, logging

from maskrep.devices import watch
from maskrep.errors import ConfigError, RunError
from maskrep.process import signals
from maskrep.process.paths import check_path

PATHS = {'workdir', 'input', 'output'}  # flags


def define_processes(values: flags.FlagValues) -> None:
  """The flags of `distributed.initialize`."""
  flags.DEFINE_string('coordinator', None, 'HOST:PORT of process 0, if the run has several processes.',
                      flag_values=values)
  flags.DEFINE_integer('num_processes', None, 'The number of processes.', flag_values=values)
  flags.DEFINE_integer('process_id', None, 'The index of this process, from 0.', flag_values=values)
  flags.DEFINE_integer('start_timeout_s', 300, 'How long to wait for the other processes.', lower_bound=1,
                       flag_values=values)


def parse(argv: list[str], values: flags.FlagValues, needed: tuple[str, ...], example: str) -> flags.FlagValues:
  """Reads the command line into defined flags.

  Raises:
    ConfigError: a flag or a field of the config does not exist, a `needed` flag is missing, or a value has another
      type.
  """
  try:
    rest = values(argv)[1:]
    if 'config' in values:
      list(values.config or ())  # a config file that cannot be loaded raises only when it is read
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
    # ml_collections puts a traceback before the message of a config file.
    message = ' '.join(str(error).rpartition('\nValueError: ')[2].replace(r'\n', ' ').split())
    # For a missing field, ml_collections gives its name in quotes, sometimes of several kinds.
    if missing := re.match(r'''["'\\]+(\w+)["'\\]+ ?(.*?)['"]*$''', message):
      message = '--config has no field {}. {}'.format(*missing.groups()).strip()
    raise ConfigError(message) from error
  for name in PATHS & set(values):
    given = values[name].value or []
    for path in [given] if isinstance(given, str) else given:
      check_path(f'--{name}={path}', path)
  if rest:
    raise ConfigError(f'{rest[0]}: is not a flag; give every argument as --NAME=VALUE')
  if missing := [f'--{name}' for name in needed if values[name].value is None]:
    raise ConfigError(f'{" and ".join(missing)}: {"is" if len(missing) == 1 else "are"} needed, as in {example}')
  return values


def run_command(command: Callable[[list[str]], None], argv: list[str]) -> int:
  """Runs a command; returns its exit code."""
  logging.set_verbosity(logging.FATAL)  # orbax logs a failed save as several tracebacks; here it is one line
  code = 0
  try:
    with signals.watched(ends_process=True):
      command(argv)
  except RunError as error:
    watch.settle()
    print(f'maskrep: {error}', file=sys.stderr)
    code = error.exit_code
  except BaseException:
    if not watch.settle():
      raise
    traceback.print_exc()
    code = 1
  return watch.leave(code)
