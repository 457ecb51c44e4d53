"""Features of a source: the only code that runs an encoder for evaluation."""

from collections.abc import Callable, Iterator
import contextlib
from typing import Any, NamedTuple

import jax
from jax.experimental.multihost_utils import process_allgather
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

from maskrep.augment.views import eval_views
from maskrep.data.datasets import Data
from maskrep.data.loader import in_order
from maskrep.data.sources.source import Source
from maskrep.data.sources.subset import Subset
from maskrep.devices.mesh import batch_sharding, global_batch
from maskrep.errors import ConfigError
from maskrep.types import Array, Batch

# (weights, batch with image, size and position) -> float32 [B, D]; `weights` are those of the encoder.
EncodeFn = Callable[[Any, Batch], Array]
READS = 'image', 'size', 'position'  # fields of the batch of an `EncodeFn`


class Features(NamedTuple):
  """Features of M examples, float32 [M, D], and their labels, int32 [M], -1 if there is none."""

  features: np.ndarray
  labels: np.ndarray


def drop_unlabelled(features: Features, source: Source) -> Features:
  """Removes the examples without a label.

  Raises:
    ConfigError: no example has a label.
  """
  labelled = features.labels >= 0
  if not labelled.any():
    raise ConfigError(f'config.data: {source.fingerprint} has no labels, and this protocol needs them; name a split '
                      'with labels')
  return Features(features.features[labelled], features.labels[labelled])


def sample(source: Source, limit: int) -> Source:
  """Draws at most `limit` examples uniformly from a source (whose order may be by class), always the same ones."""
  return Subset(source, sampled(len(source), limit)) if len(source) > limit else source


def sampled(length: int, limit: int) -> np.ndarray:
  """The indices of `sample`, ascending."""
  if length <= limit:
    return np.arange(length)
  return np.sort(np.random.default_rng(0).choice(length, limit, replace=False))


def pixels(size: int, canvas: int) -> EncodeFn:
  """Returns the baseline without an encoder: the flattened pixels, in [0, 1], at the size of the views or the canvas.

  Of these two it is the smaller: an encoder sees no more than its view, and the canvas holds no more detail.
  """
  side = min(size, canvas)

  def encoder(_, batch):
    views = eval_views(batch['image'], batch['size'], size=side, crop_fraction=1.0, mean=(0.0,) * 3, std=(1.0,) * 3)
    return views.reshape(len(views), -1)

  return encoder


def jit_encoder(encoder: EncodeFn, mesh: Mesh) -> EncodeFn:
  """Compiles an encoder: batches are sharded over the mesh, features are replicated on every device."""
  return jax.jit(encoder, in_shardings=(None, batch_sharding(mesh)), out_shardings=NamedSharding(mesh, PartitionSpec()))


def encoded(
  encoder: EncodeFn, weights, source: Source, data: Data, *, batch_size: int, mesh: Mesh
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
  """Encodes the readable images of a source, in order, with a compiled encoder.

  Yields:
    For each batch the outputs, [M, ...], the labels, int32 [M], and the places in the source, uint32 [M].
  """
  with contextlib.closing(in_order(
    source, batch_size=batch_size, canvas=data.canvas, threads=data.threads, stall_timeout_s=data.stall_timeout_s,
    reads=(*READS, 'label'), process_index=jax.process_index(), process_count=jax.process_count())) as batches:
    for batch in batches:
      outputs = np.asarray(encoder(weights, global_batch(mesh, {name: batch[name] for name in READS})))
      valid, label, place = process_allgather((batch['valid'], batch['label'], batch['position']), tiled=True)
      yield outputs[valid], label[valid], place[valid]


def extract(encoder: EncodeFn, weights, source: Source, data: Data, *, batch_size: int, mesh: Mesh) -> Features:
  """The features and labels of the readable images of a source, in order, by a compiled encoder."""
  features, labels, count = np.empty((0, 0), np.float32), np.empty(len(source), np.int32), 0
  for outputs, label, _ in encoded(encoder, weights, source, data, batch_size=batch_size, mesh=mesh):
    if not count:  # in their place from the first batch on: to join batches at the end takes the memory twice
      features = np.empty((len(source), *outputs.shape[1:]), outputs.dtype)
    rows = slice(count, count + len(label))
    features[rows], labels[rows], count = outputs, label, rows.stop
  return Features(features[:count], labels[:count])
