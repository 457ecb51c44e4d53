"""A command line: flags to values, errors to one line and an exit code."""

from collections.abc import Callable
import sys

from absl import flags, logging

from maskrep.errors import ConfigError, RunError


def parse(argv: list[str], values: flags.FlagValues, needed: tuple[str, ...], example: str) -> flags.FlagValues:
  """Reads the command line into defined flags.

  Raises:
    ConfigError: a flag that does not exist or is `needed` and not given, or a value that cannot be.
  """
  try:
    rest = values(argv)[1:]
  except flags.Error as error:
    raise ConfigError(' '.join(str(error).split())) from error
  if rest:
    raise ConfigError(f'{rest[0]}: is no flag; every argument is --NAME=VALUE')
  if missing := [name for name in needed if values[name].value is None]:
    raise ConfigError(f'--{missing[0]}: is needed, as in {example}')
  return values


def answer(command: Callable[[list[str]], None], argv: list[str]) -> int:
  """Runs a command; returns its exit code."""
  logging.set_verbosity(logging.FATAL)  # orbax logs as it reads
  try:
    command(argv)
  except RunError as error:
    print(f'maskrep: {error}', file=sys.stderr)
    return error.exit_code
  return 0
