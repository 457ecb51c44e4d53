"""Writes one vector per image of a data set into one file.

The same command resumes it after an interruption, and the file is the same.
"""

from pathlib import Path
from typing import Any

from absl import flags

from maskrep.cli import command
from maskrep.cli.help import Page
from maskrep.errors import ConfigError, DataError

ENCODING = 'network', 'pooling', 'layers', 'size', 'batch_size'
DATA = {'data.source': 'source', 'data.split': 'split', 'data.canvas': 'canvas', 'data.threads': 'threads',
        'data.max_broken_fraction': 'max_broken_fraction'}


def define(values: flags.FlagValues, argv: list[str]) -> None:
  flags.DEFINE_string('workdir', None, 'A run, or a folder written by maskrep import.', flag_values=values)
  flags.DEFINE_string('output', None, 'The file to write: .parquet, .npz or .csv.', flag_values=values)
  flags.DEFINE_string('data.source', None, 'The images: folder:PATH, tfds:NAME or digits; by default those that the '
                      'run was trained on.', flag_values=values)
  flags.DEFINE_string('data.split', None, 'The split of the images; by default the one that the run was trained on, or '
                      'train of another source.', flag_values=values)
  flags.DEFINE_integer('data.canvas', None, 'Larger images are reduced until no side is longer, in pixels; by default '
                       'as in the run.', flag_values=values)
  flags.DEFINE_integer('data.threads', None, 'The number of threads that read and decode.', flag_values=values)
  flags.DEFINE_float('data.max_broken_fraction', None, 'The share of the images that may be unreadable.',
                     flag_values=values)
  flags.DEFINE_string('network', 'ema', 'The network of a run: ema, or online for the one that the EMA follows.',
                      flag_values=values)
  flags.DEFINE_string('pooling', '', 'What represents an image: class_token, average or both; by default as in '
                      'training.', flag_values=values)
  flags.DEFINE_integer('layers', 1, 'The last blocks whose representations are put side by side.', flag_values=values)
  flags.DEFINE_integer('size', 0, 'The side of the images in pixels; 0 is that of the training.', flag_values=values)
  flags.DEFINE_integer('batch_size', 256, 'Images encoded at once, over all devices.', flag_values=values)
  command.define_processes(values)


PAGE = Page(
  usage='maskrep embed --workdir=DIR --output=FILE', doc=__doc__,
  examples=('maskrep embed --workdir=runs/msn_digits --output=digits.csv',
            'maskrep embed --workdir=runs/msn_vits16 --data.source=folder:photos --output=photos.parquet'),
  define=define)


def parse(argv: list[str]) -> flags.FlagValues:
  return command.parse(argv, PAGE, ('workdir', 'output'))


def run(argv: list[str]) -> None:
  """Writes the file.

  Raises:
    RunError: there is no such encoder or data set, or the file cannot be written.
  """
  values = parse(argv)
  from maskrep.devices import distributed
  from maskrep.embedding.embed import embed
  from maskrep.evaluation.encoding import Encoding
  from maskrep.experiment.run import cache_compilations
  from maskrep.schema import dtype_of

  distributed.initialize(values.coordinator, values.num_processes, values.process_id, values.start_timeout_s)
  cache_compilations()
  fields: dict[str, Any] = {name: values[name].value for name in ENCODING}
  try:
    encoding = Encoding(**fields)
  except ValueError as error:
    raise ConfigError(f'--{error}') from error
  data = {field: values[flag].value for flag, field in DATA.items() if values[flag].value is not None}
  try:
    line = embed(Path(values.workdir).expanduser(), Path(values.output).expanduser(), data=data, encoding=encoding,
                 dtype=dtype_of('auto'))
  except (ConfigError, DataError) as error:  # of what an evaluation reads too, where these are fields of a config
    raise type(error)(str(error).replace('config.encoding.', '--').replace('config.data.', '--data.')) from error
  if line:
    print(line)


def main(argv: list[str]) -> int:
  return command.run_command(run, argv)
