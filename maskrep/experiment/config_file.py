"""Config files, which are Python programs with a `get_config`: packaged ones are found by name, others by path."""

from collections.abc import Sequence
import difflib
from pathlib import Path
import sysconfig
import traceback

from ml_collections import ConfigDict
from ml_collections.config_flags.config_flags import ConfigFileFlagParser

from maskrep.errors import ConfigError

PACKAGED = Path(__file__).parent.parent / 'configs'
TRAINING = ('',)  # folders of PACKAGED
EVALUATION = 'evaluation', ''
LIBRARIES = (*{sysconfig.get_path(name) for name in ('stdlib', 'purelib', 'platlib')}, '<frozen')


def load(name: str, folders: Sequence[str] = TRAINING) -> ConfigDict:
  """Runs a config file.

  Args:
    name: 'msn_vitb16', 'configs/msn_vitb16.py', or either with an argument of `get_config`, as 'mim_finetune_in1k:L'.
    folders: folders of packaged configs in which a name is looked up, in this order.

  Returns:
    The config, to which no field can be added.

  Raises:
    ConfigError: there is no such file, or the program fails.
  """
  try:
    config = ConfigFileFlagParser('config').parse(find(name, folders))
  except ConfigError:
    raise
  except (Exception, SystemExit) as error:  # of any type: it is a program
    raise ConfigError(f'{name}: {_what_happened(error)}; a config is a Python program: correct it, then run the same '
                      'command') from error
  if not isinstance(config, ConfigDict):
    raise ConfigError(f'{name}: its get_config returned {type(config).__name__}, and has to return an '
                      'ml_collections.ConfigDict')
  return config


def find(name: str, folders: Sequence[str] = TRAINING) -> str:
  """Returns the path of a config file, followed by the colon and argument in `name`, if any; see `load`."""
  path, colon, argument = name.partition(':')
  if Path(path).is_file():
    return name
  if Path(path).name != path or path.endswith('.py'):
    raise ConfigError(f'{name}: no such file')
  for folder in folders:
    if (packaged := PACKAGED / folder / f'{path}.py').is_file() and path != '__init__':
      return f'{packaged}{colon}{argument}'
  near = difflib.get_close_matches(path, names(folders), 3, 0.5)
  raise ConfigError(f'{name}: is neither a file nor the name of a packaged config; '
                    + (f'did you mean {" or ".join(near)}?' if near else f'those are {", ".join(names(folders))}'))


def names(folders: Sequence[str] = TRAINING) -> list[str]:
  """Names of the packaged configs."""
  paths = [path for folder in folders for path in sorted((PACKAGED / folder).glob('*.py'))]
  return [path.stem for path in paths if path.stem != '__init__']


def _what_happened(error: BaseException) -> str:
  """The error's type and message and, if it was raised in the user's file, the line."""
  error = error.__context__ if error.__context__ and 'Error whilst parsing' in str(error) else error
  lines = [frame for frame in traceback.extract_tb(error.__traceback__)
           if not frame.filename.startswith((*LIBRARIES, __file__))]
  where = f'line {lines[-1].lineno} of {lines[-1].filename}: ' if lines else ''
  return f'{where}{type(error).__name__}: {" ".join(str(error).split())}'
