"""Draws the views or masks of training: python -m maskrep show views|masks --config=FILE --output=FILE.png"""

import contextlib
from pathlib import Path

from absl import flags

from maskrep.cli import command
from maskrep.cli.config_file import define_config
from maskrep.data.datasets import Data, open_source
from maskrep.data.decode import BrokenImage, decode
from maskrep.data.loader import in_order
from maskrep.data.sources.source import Example
from maskrep.errors import ConfigError
from maskrep.experiment.experiment import Experiment
from maskrep.show.masks import masked_columns
from maskrep.show.sheet import sheet_png
from maskrep.show.views import columns, draw
from maskrep.types import Batch
from maskrep.workdir.files import write_atomic

EXAMPLE = 'python -m maskrep show masks --config=configs/msn_digits.py --output=masks.png'
SUBJECTS = {'views': columns, 'masks': masked_columns}
ROWS = 4  # images of the training data, if none are named


class Images:
  """Image files as a source."""

  num_classes = 0
  fingerprint = 'images'

  def __init__(self, paths: list[str], canvas: int):
    self._examples = []
    for path in paths:
      try:
        self._examples.append(Example(decode(Path(path).read_bytes(), canvas=canvas), -1, path))
      except (BrokenImage, OSError) as error:
        raise ConfigError(f'--images={path}: cannot be read ({error}); give image files') from error

  def __len__(self) -> int:
    return len(self._examples)

  def __getitem__(self, index: int) -> Example:
    return self._examples[index]


def parse(argv: list[str]) -> tuple[str, flags.FlagValues]:
  """Returns the subject and the flags."""
  if len(argv) < 2 or argv[1] not in SUBJECTS:
    raise ConfigError(f'{" ".join(argv[1:2]) or "no subject"}: must be {" or ".join(SUBJECTS)}, as in {EXAMPLE}')
  subject, argv = argv[1], [argv[0], *argv[2:]]
  values = flags.FlagValues()
  define_config(values, argv, 'The experiment; change a field with --config.SECTION.FIELD=VALUE.')
  flags.DEFINE_list('images', None, f'Image files; by default the first {ROWS} images of the training data.',
                    flag_values=values)
  flags.DEFINE_string('output', None, 'A PNG file.', flag_values=values)
  command.parse(argv, values, ('config', 'output'), EXAMPLE)
  if not values.output.endswith('.png') or not Path(values.output).absolute().parent.is_dir():
    raise ConfigError(f'--output={values.output}: must be a file NAME.png in an existing folder')
  return subject, values


def show(argv: list[str]) -> None:
  """Writes the picture.

  Raises:
    ConfigError: the config is invalid, images cannot be read, or the method draws no masks.
  """
  subject, values = parse(argv)
  experiment = Experiment.parse(values.config)
  objective = experiment.objective
  if 'label_map' in objective.reads and values.images:
    raise ConfigError(f'--images={",".join(values.images)}: have no label maps, which '
                      f'config.method={experiment.method!r} cuts with them; show the training data')
  views = draw(objective, first_batch(experiment.data, values.images, objective.reads), experiment.seed)
  images = SUBJECTS[subject](objective, views)
  if not images:
    raise ConfigError(f'config.method={experiment.method!r}: has no {subject}; use maskrep show views')
  write_atomic(Path(values.output), sheet_png(images))
  print(f'{values.output}: {", ".join(images)}')


def first_batch(data: Data, paths: list[str] | None, reads: tuple[str, ...]) -> Batch:
  """One batch, with the fields in `reads`, of the named images or the first of the training data."""
  source = Images(paths, data.canvas) if paths else open_source(data, data.train_split)
  rows = len(source) if paths else min(ROWS, len(source))
  batches = in_order(source, batch_size=rows, canvas=data.canvas, threads=data.threads,
                     stall_timeout_s=data.stall_timeout_s, reads=reads)
  with contextlib.closing(batches):
    batch = dict(next(batches))
  if not batch.pop('valid').all():
    raise ConfigError(f'config.data.source={data.source}: one of the first {rows} images cannot be read; name others '
                      'with --images')
  return batch


def main(argv: list[str]) -> int:
  return command.run_command(show, argv)

