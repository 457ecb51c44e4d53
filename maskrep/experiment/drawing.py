"""A picture of the network's input in an experiment: the views, the masks or the stages of masking of some images."""

import contextlib

import numpy as np

from maskrep.data.batch import Batch
from maskrep.data.datasets import Data, open_source
from maskrep.data.decode import BrokenImage, decode
from maskrep.data.loader import in_order
from maskrep.data.sources.folder import read_image
from maskrep.data.sources.given import GivenImages
from maskrep.data.sources.subset import Subset
from maskrep.errors import ConfigError
from maskrep.experiment.experiment import Experiment
from maskrep.show import masking_stages
from maskrep.show.masks import masked_columns
from maskrep.show.sheet import sheet_png
from maskrep.show.views import columns, draw

# Subject -> its columns, of an objective, a batch and a seed.
SUBJECTS = {
  'views': lambda objective, batch, seed: columns(objective, draw(objective, batch, seed)),
  'masks': lambda objective, batch, seed: masked_columns(objective, draw(objective, batch, seed)),
  'stages': masking_stages.columns,
}
ROWS = 4  # images of the training data, drawn at random, if none are named


def drawing(experiment: Experiment, subject: str, paths: list[str] | None) -> tuple[bytes, list[str]]:
  """A PNG with one row per image, and the names of its columns.

  Args:
    subject: one of `SUBJECTS`.
    paths: image files; None draws some of the training data, determined by the seed of the experiment.

  Raises:
    ConfigError: images cannot be read, or the method draws no masks or has no stages.
  """
  objective = experiment.objective
  if 'label_map' in objective.reads and paths:
    raise ConfigError(f'--images={",".join(paths)}: have no label maps, which config.method={experiment.method!r} cuts '
                      'with them; show the training data')
  batch = one_batch(experiment.data, paths, objective.reads, experiment.seed)
  images = SUBJECTS[subject](objective, batch, experiment.seed)
  if not images:
    raise ConfigError(f'config.method={experiment.method!r}: has no {subject}; use maskrep show views')
  return sheet_png(images), list(images)


def one_batch(data: Data, paths: list[str] | None, reads: tuple[str, ...], seed: int) -> Batch:
  """One batch on the host, with the fields in `reads`: the named images, or training images drawn with the seed."""
  if paths:
    source = given(paths, data.canvas)
  else:
    source = open_source(data, data.train_split)  # whose order may be by class
    drawn = np.random.default_rng(seed).choice(len(source), min(ROWS, len(source)), replace=False)
    source = Subset(source, np.sort(drawn))
  batches = in_order(source, batch_size=len(source), canvas=data.canvas, threads=data.threads,
                     stall_timeout_s=data.stall_timeout_s, reads=reads)
  with contextlib.closing(batches):
    batch = dict(next(batches))
  if not batch.pop('valid').all():
    raise ConfigError(f'config.data.source={data.source}: one of the {len(source)} images drawn by config.seed={seed} '
                      'cannot be read; take another seed, or name images with --images')
  return batch


def given(paths: list[str], canvas: int) -> GivenImages:
  """Image files as a source.

  Raises:
    ConfigError: one cannot be read.
  """
  return GivenImages([_decoded(path, canvas) for path in paths])


def _decoded(path: str, canvas: int) -> np.ndarray:
  try:
    return decode(read_image(path), canvas=canvas)
  except (BrokenImage, OSError) as error:
    raise ConfigError(f'--images={path}: cannot be read ({error}); give image files') from error
