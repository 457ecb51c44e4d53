"""Trains what a config describes, or goes on where it stopped: python main.py --config=FILE --workdir=DIR"""

from pathlib import Path
import sys

from absl import flags, logging
from ml_collections import config_flags

from maskrep.errors import ConfigError, RunError

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file('config', None, 'The experiment; change a field with --config.SECTION.FIELD=VALUE.')
flags.DEFINE_string('workdir', None, 'Where checkpoints, metrics and results go; given again, the run is resumed.')
flags.DEFINE_list('allow_config_change', [], 'Fields, as SECTION.FIELD, that may differ from the run that is resumed.')


def parse(argv: list[str]) -> list[str]:
  """Reads the command line; whatever is wrong with it is a ConfigError."""
  try:
    rest = FLAGS(argv)
    if FLAGS.config is None or FLAGS.workdir is None:
      raise ConfigError('--config and --workdir: both are needed, as in '
                        'python main.py --config=configs/msn_digits.py --workdir=runs/msn_digits')
    return rest
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
    raise ConfigError(' '.join(str(error).split())) from error


def main(argv: list[str]) -> int:
  try:
    rest = parse(argv)
    if len(rest) > 1:
      raise ConfigError(f'{rest[1]}: is no flag; all arguments are --NAME=VALUE')
    logging.set_verbosity(logging.WARNING)
    # Imported after the command line is found right, so that a misspelt flag is answered at once.
    from maskrep import pretrain

    pretrain.run(FLAGS.config, Path(FLAGS.workdir), allowed_changes=tuple(FLAGS.allow_config_change))
  except RunError as error:
    print(f'maskrep: {error}', file=sys.stderr)
    return error.exit_code
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv))
