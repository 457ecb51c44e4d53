"""Features of a source: the only code that runs an encoder for evaluation."""

from collections.abc import Callable
import dataclasses
from typing import NamedTuple

import jax
from jax.experimental.multihost_utils import process_allgather
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

from maskrep.augment.view import eval_views
from maskrep.data.loader import in_order
from maskrep.data.sources import Example, Source
from maskrep.mesh import batch_sharding, global_batch
from maskrep.types import Array

# (weights, uint8 canvases [B, S, S, 3], int32 sizes [B, 2]) -> float32 [B, D]; `weights` is (params, model_state).
Encoder = Callable[[tuple, Array, Array], Array]


class Features(NamedTuple):
  """What is known of M examples: `features` float32 [M, D], `labels` int32 [M], -1 where there is none."""

  features: np.ndarray
  labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Subset:
  """Some examples of a source, by index."""

  source: Source
  indices: np.ndarray

  @property
  def num_classes(self) -> int:
    return self.source.num_classes

  @property
  def map_classes(self) -> int:
    return self.source.map_classes

  @property
  def fingerprint(self) -> str:
    return f'{len(self)} of {self.source.fingerprint}'

  def __len__(self) -> int:
    return len(self.indices)

  def __getitem__(self, i: int) -> Example:
    return self.source[int(self.indices[i])]


def sample(source: Source, limit: int) -> Source:
  """At most `limit` examples, evenly from the whole source (whose order may be by class), always the same ones."""
  if len(source) <= limit:
    return source
  chosen = np.random.default_rng(0).choice(len(source), limit, replace=False)
  return Subset(source, np.sort(chosen))


def class_token(encode, *, size: int, crop_fraction: float, mean: tuple[float, ...], std: tuple[float, ...],
                squash: bool = False) -> Encoder:
  """The class token of the view of `eval_views`, by an objective's `encode`."""

  def encoder(weights, images, sizes):
    views = eval_views(images, sizes, size=size, crop_fraction=crop_fraction, mean=mean, std=std,
                       squash=squash)
    return encode(*weights, views)['cls']

  return encoder


def pixels(canvas: int) -> Encoder:
  """The baseline that is no encoder: the picture at the size of the canvas, flat, in [0, 1]."""

  def encoder(_, images, sizes):
    views = eval_views(images, sizes, size=canvas, crop_fraction=1.0, mean=(0.0,) * 3, std=(1.0,) * 3)
    return views.reshape(len(images), -1)

  return encoder


def jit_encoder(encoder: Encoder, mesh: Mesh) -> Encoder:
  """Compiles an encoder: batches are split over the mesh, features are whole on every device."""
  split = batch_sharding(mesh)
  return jax.jit(encoder, in_shardings=(None, split, split), out_shardings=NamedSharding(mesh, PartitionSpec()))


def extract(
  encoder: Encoder, weights, source: Source, *, mesh: Mesh, batch_size: int, canvas: int, threads: int,
  stall_timeout_s: int,
) -> Features:
  """Encodes a source in its order, with a compiled encoder."""
  features, labels = [], []
  for batch in in_order(source, batch_size=batch_size, canvas=canvas, threads=threads,
                        stall_timeout_s=stall_timeout_s,
                        process_index=jax.process_index(), process_count=jax.process_count()):
    placed = global_batch(mesh, {'image': batch['image'], 'size': batch['size']})
    encoded = np.asarray(encoder(weights, placed['image'], placed['size']))
    valid, label = process_allgather((batch['valid'], batch['label']), tiled=True)
    features.append(encoded[valid])
    labels.append(label[valid])
  return Features(np.concatenate(features), np.concatenate(labels))
