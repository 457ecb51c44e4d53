"""A picture and a figure of an encoder's sensitivity to scale and place: the boxes that it takes for a query crop."""

from collections.abc import Callable
import contextlib
import dataclasses
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from maskrep.data.batch import Batch
from maskrep.data.datasets import Data, open_source
from maskrep.data.loader import in_order
from maskrep.errors import ConfigError
from maskrep.evaluation.features import sample
from maskrep.experiment.opened_encoder import TEXT, OpenedEncoder, open_encoder
from maskrep.models.encoder import pooled
from maskrep.show import locality
from maskrep.show.sheet import LEAST, sheet_png

IMAGES = 256  # of a data set, at most
BATCH = 16
ROWS, SIDE = 4, 128  # pictures, and their size in pixels


class Boxes(NamedTuple):
  """Images uint8 [H, W, 3], their classes int [B], boxes float32 [B, M, 4] and representations float32 [B, M, D]."""

  images: list[np.ndarray]
  labels: np.ndarray
  boxes: np.ndarray
  features: np.ndarray


def draw_locality(
  workdir: Path, paths: list[str] | None, *, query: str | None = None, source: str | None = None,
  split: str | None = None,
) -> tuple[bytes, str]:
  """A PNG of the boxes of images that are nearest to a query crop, and a line on them.

  With `query` that is a whole image file. Otherwise it is a box of another image of the same class of a data set, and
  the line has the mean IoU of the nearest box with it, by their scale and place in their images.

  Args:
    workdir: a run or an import.
    paths, query: image files, both or neither.
    source, split: the data set, as in the section `data`; by default the images on which the run is evaluated or, if
      there are none, trained.

  Raises:
    ConfigError: there is no such encoder or data set, its images have no classes, or images cannot be read.
    CheckpointError: the run has no complete checkpoint, or is under way.
  """
  if bool(paths) != bool(query):
    raise ConfigError('--images and --query: belong together: image files, and the crop to be found in them')
  if paths and (source or split):
    raise ConfigError('--images and --data.source or --data.split: give image files or a data set')
  opened = open_encoder(workdir)
  if paths and query:
    return _of_files(opened, paths, query)
  data, split = _data(opened, source, split)
  found = _of_data(opened, data, split)
  partners = locality.partners(found.labels)
  some = np.flatnonzero(partners >= 0)
  if not len(some):
    raise ConfigError(f'config.data.source={data.source}: has no two images of a class, and the query is cut from '
                      'another image of the class; give a data set with classes, or --images and --query')
  boxes, queries = found.boxes[some, :-1], found.boxes[partners[some], -1]
  order = locality.ranked(found.features[some, :-1], found.features[partners[some], -1])
  overlap = locality.iou(boxes, queries[:, None])
  best = overlap[np.arange(len(some)), order[:, 0]]
  rows = np.random.default_rng(opened.seed).permutation(len(some))[:ROWS]
  columns = locality.columns(
    [found.images[some[i]] for i in rows], boxes[rows], order[rows], [found.images[partners[some[i]]] for i in rows],
    queries[rows], SIDE)
  return _png(columns), (
    f'mean IoU of the nearest box {best.mean():.3f} +- {best.std() / len(best)**0.5:.3f} over {len(best)} images of '
    f'{data.source}; of a random box {overlap.mean():.3f}, of the best box {overlap.max(axis=1).mean():.3f}')


def _of_files(opened: OpenedEncoder, paths: list[str], query: str) -> tuple[bytes, str]:
  batch, crop = opened.batch(paths), opened.batch([query])
  boxes = locality.draw_boxes(opened.seed, len(paths))
  encode = _encoder(opened)
  found, wanted = encode(batch, boxes), encode(crop, locality.WHOLE[None, None])
  order = locality.ranked(found, np.repeat(wanted[:, 0], len(paths), axis=0))
  columns = locality.columns(_cut(batch), boxes, order, _cut(crop) * len(paths),
                             np.repeat(locality.WHOLE[None], len(paths), axis=0), SIDE)
  return _png(columns), f'the nearest and the last of {locality.BOXES} boxes'


def _of_data(opened: OpenedEncoder, data: Data, split: str) -> Boxes:
  """Candidates and, as the last box of each image, a query; of the readable images."""
  source, encode = sample(open_source(data, split), IMAGES), _encoder(opened)
  drawn = locality.draw_boxes(opened.seed, len(source)), locality.draw_queries(opened.seed, len(source))[:, None]
  boxes, parts = np.concatenate(drawn, axis=1), []
  batches = in_order(source, batch_size=BATCH, canvas=data.canvas, threads=data.threads,
                     stall_timeout_s=data.stall_timeout_s, reads=('image', 'size', 'label', 'position'))
  with contextlib.closing(batches):
    for batch in batches:
      of_batch = boxes[batch['position'] % len(boxes)]  # rows that pad the last batch lie behind the end
      features, valid = encode(batch, of_batch), batch['valid']
      images = [image for image, readable in zip(_cut(batch), valid, strict=True) if readable]
      parts.append((images, batch['label'][valid], of_batch[valid], features[valid]))
  images, *arrays = zip(*parts, strict=True)
  return Boxes([image for part in images for image in part], *map(np.concatenate, arrays))


def _encoder(opened: OpenedEncoder) -> Callable[[Batch, np.ndarray], np.ndarray]:
  """A compiled function from a batch and boxes [B, M, 4] to representations [B, M, D]."""

  @jax.jit
  def encode(variables, canvases, sizes, boxes):
    return locality.encode_boxes(lambda images: pooled(opened.network.apply(variables, images), opened.pooling),
                                 opened.preprocessing, canvases, sizes, boxes)

  return lambda batch, boxes: np.asarray(encode(opened.variables, batch['image'], batch['size'], boxes))


def _data(opened: OpenedEncoder, source: str | None, split: str | None) -> tuple[Data, str]:
  """The section of the data set, and its split."""
  own = opened.data
  if not (source or own.source):
    raise ConfigError(f'--data.source: is needed, as {opened.what} holds an import, which has no data of its own; name '
                      'images in folders of classes, as folder:PATH')
  if source in (None, own.source):
    return own, split or own.eval_split or own.train_split
  split = split or 'train'
  return dataclasses.replace(own, source=source, train_split=split, eval_split=''), split


def _png(columns: dict[str, np.ndarray]) -> bytes:
  return sheet_png(columns, text=TEXT * SIDE // LEAST)


def _cut(batch: Batch) -> list[np.ndarray]:
  """The images without the rest of their canvases."""
  return [image[:height, :width] for image, (height, width) in zip(batch['image'], batch['size'], strict=True)]
