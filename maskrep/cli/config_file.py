"""The flag --config: the name of a packaged config, or the path of a file."""

from collections.abc import Sequence

from absl import flags
from ml_collections import ConfigDict, config_flags
from ml_collections.config_flags.config_flags import ConfigFileFlagParser

from maskrep.errors import ConfigError
from maskrep.experiment import config_file

EXPERIMENT = 'The experiment; change a field with --config.SECTION.FIELD=VALUE.'


def define_config(
  values: flags.FlagValues, argv: list[str], explanation: str = EXPERIMENT,
  folders: Sequence[str] = config_file.TRAINING,
) -> None:
  config_flags.DEFINE_config_file('config', None, explanation, flag_values=values, sys_argv=argv)
  values['config'].parser = _Parser(folders)


class _Parser(ConfigFileFlagParser):
  """Finds packaged configs too, and reports any error in a config as one line."""

  def __init__(self, folders: Sequence[str]):
    super().__init__('config')
    self._folders = folders

  def parse(self, path: str) -> ConfigDict:
    try:
      return config_file.load(path, self._folders)
    except ConfigError as error:
      raise ConfigError(f'--config={error}') from error
