"""A command line: flags to values, errors to one line and an exit code."""

from collections.abc import Callable
import re
import sys

from absl import flags, logging

from maskrep.errors import ConfigError, RunError


def define_processes(values: flags.FlagValues) -> None:
  """The flags of `distributed.initialize`."""
  flags.DEFINE_string('coordinator', None, 'HOST:PORT of process 0, where several processes work together.',
                      flag_values=values)
  flags.DEFINE_integer('num_processes', None, 'How many they are.', flag_values=values)
  flags.DEFINE_integer('process_id', None, 'Which of them this is, from 0.', flag_values=values)
  flags.DEFINE_integer('start_timeout_s', 300, 'How long to wait for the others.', lower_bound=1, flag_values=values)


def parse(argv: list[str], values: flags.FlagValues, needed: tuple[str, ...], example: str) -> flags.FlagValues:
  """Reads the command line into defined flags.

  Raises:
    ConfigError: a flag or a field of the config that does not exist, one that is `needed` and not given, or a value of
      another type.
  """
  try:
    rest = values(argv)[1:]
    if 'config' in values:
      list(values.config or ())  # a config file that could not be loaded says so only when it is read
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
    # Before what a config file says itself, ml_collections puts a traceback.
    said = ' '.join(str(error).rpartition('\nValueError: ')[2].replace(r'\n', ' ').split())
    # Of a field that is not there, ml_collections says the name in quotes, sometimes of several kinds.
    missing = re.match(r'''["'\\]+(\w+)["'\\]+ ?(.*?)['"]*$''', said)
    raise ConfigError('--config has no field {}. {}'.format(*missing.groups()).strip() if missing else said) from error
  if rest:
    raise ConfigError(f'{rest[0]}: is no flag; every argument is --NAME=VALUE')
  if missing := [f'--{name}' for name in needed if values[name].value is None]:
    raise ConfigError(f'{" and ".join(missing)}: {"is" if len(missing) == 1 else "are"} needed, as in {example}')
  return values


def answer(command: Callable[[list[str]], None], argv: list[str]) -> int:
  """Runs a command; returns its exit code."""
  logging.set_verbosity(logging.FATAL)  # orbax logs a failed save as several tracebacks; we say it in one line
  try:
    command(argv)
  except RunError as error:
    print(f'maskrep: {error}', file=sys.stderr)
    return error.exit_code
  return 0
