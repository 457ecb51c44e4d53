"""Command lines: parses flags into values, and turns errors into one line and an exit code."""

from collections.abc import Callable
import re
import sys
import traceback

from absl import flags, logging

from maskrep.cli import help
from maskrep.cli.help import Page
from maskrep.devices import watch
from maskrep.errors import ConfigError, RunError
from maskrep.process import signals
from maskrep.process.paths import ON_THIS_MACHINE, OR_IN_A_BUCKET, check_path

PATHS = {'workdir', 'input', 'output', 'heartbeat', 'html'}  # flags


def define_processes(values: flags.FlagValues) -> None:
  """The flags of `distributed.initialize`."""
  flags.DEFINE_string('coordinator', None, 'HOST:PORT of process 0, if the run has several processes.',
                      flag_values=values)
  flags.DEFINE_integer('num_processes', None, 'The number of processes.', flag_values=values)
  flags.DEFINE_integer('process_id', None, 'The index of this process, from 0.', flag_values=values)
  flags.DEFINE_integer('start_timeout_s', 300, 'How long to wait for the other processes.', lower_bound=1,
                       flag_values=values)


def choose(argv: list[str], page: Page) -> tuple[str, list[str]]:
  """Returns the word after a command, one of `page.choices`, and the command line without it.

  Raises:
    Asked: help was requested, or there is no word.
    ConfigError: the word is not one of them.
  """
  if len(argv) < 2 or argv[1] in help.FLAGS:
    raise help.Asked(page.text(argv), exit_code=0 if argv[1:] else ConfigError.exit_code)
  if argv[1] not in page.choices:
    raise ConfigError(f'{argv[1]}: must be one of {", ".join(page.choices)}, as in {page.examples[0]}')
  return argv[1], [argv[0], *argv[2:]]


def parse(argv: list[str], page: Page, needed: tuple[str, ...] = ()) -> flags.FlagValues:
  """Reads a command line.

  Raises:
    Asked: help was requested, or there is nothing to read.
    ConfigError: a flag or a field of the config does not exist, a `needed` flag is missing, or a value has another
      type.
  """
  asked = len(argv) < 2 or bool(help.FLAGS & set(argv))
  if asked and not any(re.match('--?config(=|$)', argument) for argument in argv):
    raise help.Asked(page.text(argv), exit_code=0 if argv[1:] else ConfigError.exit_code)
  values = flags.FlagValues()
  page.define(values, argv)
  try:
    rest = values([argument for argument in argv if argument not in help.FLAGS])[1:]
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
    # ml_collections puts a traceback before the message of a config file.
    message = ' '.join(str(error).rpartition('\nValueError: ')[2].replace(r'\n', ' ').split())
    # For a missing field, ml_collections gives its name in quotes, sometimes of several kinds.
    if missing := re.match(r'''["'\\]+(\w+)["'\\]+ ?(.*?)['"]*$''', message):
      message = '--config has no field {}. {}'.format(*missing.groups()).strip()
    raise ConfigError(message) from error
  if asked:
    raise help.Asked(f'{page.text(argv)}\n\n{page.config_text(values)}', exit_code=0)
  for name in PATHS & set(values):
    given = values[name].value or []
    for path in [given] if isinstance(given, str) else given:
      check_path(f'--{name}={path}', path, OR_IN_A_BUCKET if page.bucket and name == 'workdir' else ON_THIS_MACHINE)
  if rest:
    raise ConfigError(f'{rest[0]}: is not a flag; give every argument as --NAME=VALUE')
  if missing := [f'--{name}' for name in needed if values[name].value is None]:
    raise ConfigError(f'{" and ".join(missing)}: {"is" if len(missing) == 1 else "are"} needed, as in '
                      f'{page.examples[0]}')
  return values


def run_command(command: Callable[[list[str]], None], argv: list[str]) -> int:
  """Runs a command; returns its exit code."""
  logging.set_verbosity(logging.FATAL)  # orbax logs a failed save as several tracebacks; here it is one line
  code = 0
  try:
    with signals.watched(ends_process=True):
      command(argv)
  except help.Asked as asked:
    print(asked)
    code = asked.exit_code
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
