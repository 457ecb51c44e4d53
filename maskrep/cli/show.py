"""Draws what a network is trained on, or what an encoder has learned, as a PNG.

Views and masks are the images that the network is trained on; masked patches are grey.
"""

from pathlib import Path

from absl import flags

from maskrep.cli import command
from maskrep.cli.config_file import define_config
from maskrep.cli.help import Page, training_fields
from maskrep.errors import ConfigError
from maskrep.workdir.files import write_atomic

LEARNT = 'neighbours', 'pca', 'prototypes', 'kernels'  # `learnt.SUBJECTS`; help needs no jax


def define(values: flags.FlagValues, argv: list[str]) -> None:
  define_config(values, argv)
  flags.DEFINE_string('workdir', None, 'A run, whose experiment is taken instead of --config.', flag_values=values)
  flags.DEFINE_list('images', None, 'Image files; by default some of the training data, drawn by config.seed.',
                    flag_values=values)
  flags.DEFINE_string('output', None, 'A PNG file.', flag_values=values)


PAGE = Page(
  usage='maskrep show SUBJECT --config=NAME|FILE|--workdir=DIR --output=FILE.png', doc=__doc__,
  examples=('maskrep show masks --config=msn_digits --output=masks.png',
            'maskrep show masks --workdir=runs/msn_digits --output=masks.png',
            'maskrep show views --config=msn_vitb16 --images=cat.jpg,dog.jpg --output=views.png',
            'maskrep show neighbours --workdir=runs/msn_digits --output=neighbours.png'),
  choices={'views': 'all views that the loss reads', 'masks': 'the masked views',
           'stages': 'the stages of masking pixels (MSCN)',
           'neighbours': 'of a run: queries and the nearest training images',
           'pca': 'of a run, or of an import with --images: components of its patches as colours',
           'prototypes': 'of a run with prototypes (MSN): the images of each, the most used first',
           'kernels': 'of a run or an import: the kernels of its first layer'},
  define=define, fields=training_fields)


def parse(argv: list[str]) -> tuple[str, flags.FlagValues]:
  """Returns the subject and the flags."""
  subject, argv = command.choose(argv, PAGE)
  values = command.parse(argv, PAGE, ('output',))
  if (values.config is None) == (values.workdir is None):
    raise ConfigError(f'--config and --workdir: one of them is needed, as in {PAGE.examples[0]}')
  if not values.output.endswith('.png') or not Path(values.output).absolute().parent.is_dir():
    raise ConfigError(f'--output={values.output}: must be a file NAME.png in an existing folder')
  return subject, values


def show(argv: list[str]) -> None:
  """Writes the picture.

  Raises:
    ConfigError: the config is invalid, images cannot be read, or the method draws no masks.
  """
  subject, values = parse(argv)
  from maskrep.experiment.drawing import drawing
  from maskrep.experiment.experiment import Experiment
  from maskrep.experiment.stored import open_run

  if subject in LEARNT:
    from maskrep.experiment.learnt import learnt

    if not values.workdir:
      raise ConfigError(f'--workdir: is needed for {subject}, which are of trained weights')
    png, line = learnt(subject, Path(values.workdir).expanduser(), values.images)
    write_atomic(Path(values.output), png)
    print(f'{values.output}: {line}')
    return
  if values.workdir:
    experiment = open_run(f'--workdir={values.workdir}', Path(values.workdir).expanduser()).experiment
  else:
    experiment = Experiment.parse(values.config)
  png, columns = drawing(experiment, subject, values.images)
  write_atomic(Path(values.output), png)
  print(f'{values.output}: {", ".join(columns)}')


def main(argv: list[str]) -> int:
  return command.run_command(show, argv)
