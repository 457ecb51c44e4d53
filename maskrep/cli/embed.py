"""Writes a vector for each image of a data set into one file: python -m maskrep embed --workdir=DIR --output=x.parquet

Stopped, it goes on with the same command. See docs/python.md.
"""

from pathlib import Path

from absl import flags

from maskrep.cli import command
from maskrep.devices import distributed
from maskrep.embedding.embed import embed
from maskrep.errors import ConfigError, DataError
from maskrep.evaluation.extractor import NETWORKS, Encoding
from maskrep.experiment.run import cache_compilations
from maskrep.models.encoder import POOLING
from maskrep.schema import dtype_of

EXAMPLE = 'python -m maskrep embed --workdir=runs/msn_vits16 --data.source=folder:photos --output=photos.parquet'
ENCODING = 'network', 'pooling', 'layers', 'size', 'batch_size'
DATA = {'data.source': 'source', 'data.split': 'train_split', 'data.canvas': 'canvas', 'data.threads': 'threads',
        'data.max_broken_fraction': 'max_broken_fraction'}


def parse(argv: list[str]) -> flags.FlagValues:
  values = flags.FlagValues()
  flags.DEFINE_string('workdir', None, 'A run, or a folder written by maskrep import.', flag_values=values)
  flags.DEFINE_string('output', None, 'The file to write: .parquet, .npz or .csv.', flag_values=values)
  flags.DEFINE_string('data.source', None, 'The images: folder:PATH, tfds:NAME or digits; by default those that the '
                      'run was trained on.', flag_values=values)
  flags.DEFINE_string('data.split', 'train', 'The split of the images; a folder without one of this name is train.',
                      flag_values=values)
  flags.DEFINE_integer('data.canvas', None, 'Larger images are reduced until no side is longer, in pixels; by default '
                       'as in the run.', flag_values=values)
  flags.DEFINE_integer('data.threads', None, 'The number of threads that read and decode.', flag_values=values)
  flags.DEFINE_float('data.max_broken_fraction', None, 'The share of the images that may be unreadable.',
                     flag_values=values)
  flags.DEFINE_enum('network', 'ema', NETWORKS, 'The network of a run: its EMA, or the one that this follows.',
                    flag_values=values)
  flags.DEFINE_enum('pooling', '', ['', *POOLING], 'The representation of an image; by default that of the training.',
                    flag_values=values)
  flags.DEFINE_integer('layers', 1, 'The last blocks whose representations are put side by side.', flag_values=values)
  flags.DEFINE_integer('size', 0, 'The side of the images in pixels; 0 is that of the training.', flag_values=values)
  flags.DEFINE_integer('batch_size', 256, 'Images encoded at once, over all devices.', flag_values=values)
  command.define_processes(values)
  return command.parse(argv, values, ('workdir', 'output'), EXAMPLE)


def run(argv: list[str]) -> None:
  """Writes the file.

  Raises:
    RunError: there is no such encoder or data set, or the file cannot be written.
  """
  values = parse(argv)
  distributed.initialize(values.coordinator, values.num_processes, values.process_id, values.start_timeout_s)
  cache_compilations()
  try:
    encoding = Encoding(**{name: values[name].value for name in ENCODING})
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
