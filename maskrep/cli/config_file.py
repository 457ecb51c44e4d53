"""The flag --config: a Python file, run as a program, whose get_config returns the config."""

import sysconfig
import traceback

from absl import flags
from ml_collections import ConfigDict, config_flags
from ml_collections.config_flags.config_flags import ConfigFileFlagParser

from maskrep.errors import ConfigError

LIBRARIES = (*{sysconfig.get_path(name) for name in ('stdlib', 'purelib', 'platlib')}, '<frozen')


def define_config(values: flags.FlagValues, argv: list[str], explanation: str = '') -> None:
  config_flags.DEFINE_config_file('config', None, explanation, flag_values=values, sys_argv=argv)
  values['config'].parser = _Parser('config')


class _Parser(ConfigFileFlagParser):
  """Turns whatever goes wrong in the program into one line."""

  def parse(self, path: str) -> ConfigDict:
    try:
      config = super().parse(path)
    except (Exception, SystemExit) as error:  # of any type: it is a program
      raise ConfigError(f'--config={path}: {_what_happened(error)}; a config is a Python program: correct it, then run '
                        'the same command') from error
    # A file that is not there is an object that raises when it is read.
    if not isinstance(config, ConfigDict) and type(config).__name__ != '_ErrorConfig':
      raise ConfigError(f'--config={path}: its get_config returned {type(config).__name__}, and has to return an '
                        'ml_collections.ConfigDict')
    return config


def _what_happened(error: BaseException) -> str:
  """The type of the error, its message and, if it has one, the line of the user's file."""
  error = error.__context__ if error.__context__ and 'Error whilst parsing' in str(error) else error
  lines = [frame for frame in traceback.extract_tb(error.__traceback__)
           if not frame.filename.startswith((*LIBRARIES, __file__))]
  where = f'line {lines[-1].lineno} of {lines[-1].filename}: ' if lines else ''
  return f'{where}{type(error).__name__}: {" ".join(str(error).split())}'
