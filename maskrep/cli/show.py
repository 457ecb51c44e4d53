"""Draws the input of training, or what a trained encoder sees and has learned, as a PNG.

Views and masks are the images that the network is trained on; masked patches are grey. Subjects other than these and
stages are of the weights in --workdir.
"""

from pathlib import Path
from typing import Any

from absl import flags

from maskrep.cli import command
from maskrep.cli.config_file import define_config
from maskrep.cli.help import Page, training_fields
from maskrep.errors import ConfigError, DataError
from maskrep.workdir.files import write_atomic

# Subject of an encoder -> the flags that only some subjects read. Their names are in the errors.
SEEN = {'attention': ('size', 'queries', 'each_head'), 'locality': ('query', 'data.source', 'data.split'),
        'inversion': ('size', 'ratios', 'steps')}
LEARNT = 'neighbours', 'pca', 'prototypes', 'kernels'  # `learnt.SUBJECTS`; help needs no jax


def define(values: flags.FlagValues, argv: list[str]) -> None:
  define_config(values, argv)
  flags.DEFINE_string('workdir', None, 'A run, whose experiment is taken instead of --config; for subjects '
                      'of an encoder a run or a folder written by maskrep import.', flag_values=values)
  flags.DEFINE_list('images', None, 'Image files; by default some of the training data, drawn by config.seed.',
                    flag_values=values)
  flags.DEFINE_string('output', None, 'A PNG file.', flag_values=values)
  flags.DEFINE_integer('size', 0, 'Attention, inversion: the side of the images in pixels; 0 is that of the training.',
                       flag_values=values)
  flags.DEFINE_list('queries', [], 'Attention: up to six patches, counted row by row from 0; by default four, spread '
                    'over the image.', flag_values=values)
  flags.DEFINE_bool('each_head', False, 'Attention: a row per head, below that of their mean.', flag_values=values)
  flags.DEFINE_string('query', None, 'Locality: an image file, to be found in --images; by default boxes of other '
                      'images of the class, over the data set.', flag_values=values)
  flags.DEFINE_string('data.source', None, 'Locality: the data set, as folder:PATH; by default that of the run.',
                      flag_values=values)
  flags.DEFINE_string('data.split', None, 'Locality: its split; by default the one on which the run is evaluated, or '
                      'train of another source.', flag_values=values)
  flags.DEFINE_list('ratios', ['0.5', '0.75'], 'Inversion: masking ratios.', flag_values=values)
  flags.DEFINE_integer('steps', 3000, 'Inversion: the most steps of the optimisation.', flag_values=values)


PAGE = Page(
  usage='maskrep show SUBJECT --config=NAME|FILE|--workdir=DIR --output=FILE.png', doc=__doc__,
  examples=('maskrep show masks --config=msn_digits --output=masks.png',
            'maskrep show masks --workdir=runs/msn_digits --output=masks.png',
            'maskrep show views --config=msn_vitb16 --images=cat.jpg,dog.jpg --output=views.png',
            'maskrep show attention --workdir=runs/msn_digits --output=attention.png',
            'maskrep show neighbours --workdir=runs/msn_digits --output=neighbours.png'),
  choices={'views': 'all views that the loss reads', 'masks': 'the masked views',
           'stages': 'the stages of masking pixels (MSCN)',
           'attention': 'the attention of some patches and of the class token, in the last block',
           'locality': 'the boxes of an image that are nearest to a query crop, and their mean IoU over a data set',
           'inversion': 'masked images, inverted from the representations of their visible patches',
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
  if subject in (*SEEN, *LEARNT) and not values.workdir:
    raise ConfigError(f'--config: has no trained weights, which show {subject} needs; give --workdir')
  for name in dict.fromkeys(sum(SEEN.values(), ())):
    if values[name].present and name not in SEEN.get(subject, ()):
      raise ConfigError(f'--{name}={values[name].value}: show {subject} does not read it; leave it out')
  if not values.output.endswith('.png') or not Path(values.output).absolute().parent.is_dir():
    raise ConfigError(f'--output={values.output}: must be a file NAME.png in an existing folder')
  return subject, values


def numbers(values: flags.FlagValues, name: str, kind: type) -> list[Any]:
  """The numbers of a flag that is a list.

  Raises:
    ConfigError: one of them is no number of this kind, or there is none.
  """
  texts: list[str] = values[name].value or []
  given = ','.join(texts)
  try:
    found = [kind(each) for each in texts]
  except ValueError:
    found = []
  if not found and (given or values[name].present):
    raise ConfigError(f'--{name}={given}: must be {"whole " if kind is int else ""}numbers with commas between them')
  return found


def draw_seen(subject: str, values: flags.FlagValues) -> tuple[bytes, str]:
  """The picture of a subject of an encoder, and a line on it."""
  workdir = Path(values.workdir).expanduser()
  if subject == 'attention':
    from maskrep.experiment.show_attention import draw_attention

    return draw_attention(workdir, values.images, size=values.size, queries=numbers(values, 'queries', int),
                          each_head=values.each_head)
  if subject == 'inversion':
    from maskrep.experiment.show_inversion import draw_inversion

    return draw_inversion(workdir, values.images, size=values.size, ratios=numbers(values, 'ratios', float),
                          steps=values.steps)
  from maskrep.experiment.show_locality import draw_locality

  try:
    return draw_locality(workdir, values.images, query=values.query, source=values['data.source'].value,
                         split=values['data.split'].value)
  except (ConfigError, DataError) as error:  # of what training reads too, where these are fields of a config
    raise type(error)(str(error).replace('config.data.', '--data.')) from error


def show(argv: list[str]) -> None:
  """Writes the picture.

  Raises:
    RunError: the config is invalid, there is no such encoder, images cannot be read, or the subject cannot be drawn.
  """
  subject, values = parse(argv)
  if subject in SEEN:
    png, line = draw_seen(subject, values)
  elif subject in LEARNT:
    from maskrep.experiment.learnt import learnt

    png, line = learnt(subject, Path(values.workdir).expanduser(), values.images)
  else:
    from maskrep.experiment.drawing import drawing
    from maskrep.experiment.experiment import Experiment
    from maskrep.experiment.stored import open_run

    if values.workdir:
      experiment = open_run(f'--workdir={values.workdir}', Path(values.workdir).expanduser()).experiment
    else:
      experiment = Experiment.parse(values.config)
    png, columns = drawing(experiment, subject, values.images)
    line = ', '.join(columns)
  write_atomic(Path(values.output), png)
  print(f'{values.output}: {line}')


def main(argv: list[str]) -> int:
  return command.run_command(show, argv)
