"""Pictures of what a network is trained on: python -m maskrep show views|masks --config=FILE --output=FILE.png"""

import contextlib
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from maskrep.cli import command
from maskrep.data.datasets import Data, open_source
from maskrep.data.decode import BrokenImage, decode
from maskrep.data.loader import in_order
from maskrep.data.sources.source import Example
from maskrep.errors import ConfigError
from maskrep.experiment import build
from maskrep.show.masks import masked_columns
from maskrep.show.sheet import sheet_png
from maskrep.show.views import columns, draw
from maskrep.train.program import reads
from maskrep.types import Batch
from maskrep.workdir.files import write_atomic

EXAMPLE = 'python -m maskrep show masks --config=configs/msn_digits.py --output=masks.png'
SUBJECTS = {'views': columns, 'masks': masked_columns}
ROWS = 4  # of the training data, where no images are named


class Images:
  """Pictures from files, as a source."""

  num_classes = 0
  fingerprint = 'images'

  def __init__(self, paths: list[str], canvas: int):
    self._examples = []
    for path in paths:
      try:
        self._examples.append(Example(decode(Path(path).read_bytes(), canvas=canvas), -1, path))
      except (BrokenImage, OSError) as error:
        raise ConfigError(f'--images={path}: cannot be read ({error}); give files of images') from error

  def __len__(self) -> int:
    return len(self._examples)

  def __getitem__(self, index: int) -> Example:
    return self._examples[index]


def parse(argv: list[str]) -> tuple[str, flags.FlagValues]:
  """The subject and the flags."""
  if len(argv) < 2 or argv[1] not in SUBJECTS:
    raise ConfigError(f'{" ".join(argv[1:2]) or "no subject"}: must be {" or ".join(SUBJECTS)}, as in {EXAMPLE}')
  subject, argv = argv[1], [argv[0], *argv[2:]]
  values = flags.FlagValues()
  config_flags.DEFINE_config_file('config', None, 'Whose views; change a field with --config.SECTION.FIELD=VALUE.',
                                  flag_values=values, sys_argv=argv)
  flags.DEFINE_list('images', None, f'Files; the first {ROWS} of the training data where none are named.',
                    flag_values=values)
  flags.DEFINE_string('output', None, 'A PNG file.', flag_values=values)
  command.parse(argv, values, ('config', 'output'), EXAMPLE)
  if not values.output.endswith('.png') or not Path(values.output).absolute().parent.is_dir():
    raise ConfigError(f'--output={values.output}: must be a file NAME.png in a folder that is there')
  return subject, values


def show(argv: list[str]) -> None:
  """Writes the picture.

  Raises:
    ConfigError: the config cannot be right, images cannot be read, or the method draws no masks.
  """
  subject, values = parse(argv)
  config = values.config
  if missing := [field for field in ('seed', 'data', 'train', *build.method(config).sections) if field not in config]:
    raise ConfigError(f'config.{missing[0]}: is missing; add it to the config file')
  objective = build.build_objective(config)
  fields = reads(objective)
  if 'label_map' in fields and values.images:
    raise ConfigError(f'--images={",".join(values.images)}: have no label maps, which config.method={config.method!r} '
                      'cuts with them; show the training data')
  views = draw(objective, first_batch(config, values.images, fields), config.seed)
  found = SUBJECTS[subject](objective, views)
  if not found:
    raise ConfigError(f'config.method={config.method!r}: has no {subject}; ask for the views')
  write_atomic(Path(values.output), sheet_png(found))
  print(f'{values.output}: {", ".join(found)}')


def first_batch(config: ConfigDict, paths: list[str] | None, fields: tuple[str, ...]) -> Batch:
  """One batch of the images named, or of the first ones of the training data, with these fields."""
  data = build.section(Data, config.data, 'data')
  source = Images(paths, data.canvas) if paths else open_source(data, data.train_split)
  rows = len(source) if paths else min(ROWS, len(source))
  batches = in_order(source, batch_size=rows, canvas=data.canvas, threads=data.threads,
                     stall_timeout_s=data.stall_timeout_s, reads=fields)
  with contextlib.closing(batches):
    batch = dict(next(batches))
  if not batch.pop('valid').all():
    raise ConfigError(f'config.data.source={data.source}: one of the first {rows} images cannot be read; name others '
                      'with --images')
  return batch


def main(argv: list[str]) -> int:
  return command.answer(show, argv)

