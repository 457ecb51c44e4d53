"""Mean intersection over union of predicted label maps, at the original size of each image."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

from maskrep.data.datasets import Data
from maskrep.data.label_maps import NONE
from maskrep.data.loader import in_order
from maskrep.data.sources.source import Source
from maskrep.devices.mesh import batch_sharding, global_batch
from maskrep.errors import DataError
from maskrep.evaluation.metrics import windows
from maskrep.models.encoder import Preprocessing
from maskrep.types import Array, Params

READS = 'image', 'size', 'label_map'  # fields of the batch

# (params, uint8 canvases [B, S, S, 3], int32 sizes [B, 2], uint8 label maps [B, S, S]) -> int32 counts [C, C]
ConfusionFn = Callable[[Params, Array, Array, Array], Array]


class Scores(NamedTuple):
  """Scores in [0, 1] of all pixels with a class; `class_iou`, float64 [C], is NaN for a class that does not occur."""

  mean_iou: float
  pixel_accuracy: float
  class_iou: np.ndarray


def scores(confusion: np.ndarray) -> Scores:
  """Computes the scores of a confusion matrix: pixels, int64 [C, C], by true class (row) and predicted class (column).

  The IoU of a class is true positives over true positives, false positives and false negatives. A class that neither
  occurs nor is predicted has no IoU, and is not in the mean (Everingham et al. 2015, section 4.5).

  Raises:
    DataError: there are no pixels.
  """
  if not confusion.sum():
    raise DataError('config.data.eval_split: none of its pixels has a class; use another, or prepare it again')
  right = np.diag(confusion)
  union = confusion.sum(0) + confusion.sum(1) - right
  iou = np.divide(right, union, out=np.full(len(right), np.nan), where=union > 0)
  return Scores(float(np.nanmean(iou)), float(right.sum() / confusion.sum()), iou)


def jit_confusion(
  segment: Callable[[Params, Array], Array], preprocessing: Preprocessing, *, classes: int, stride: int, mesh: Mesh,
) -> ConfusionFn:
  """Compiles the confusion matrix of a batch: batches are sharded over the mesh, counts are replicated on all devices.

  With a stride of 0 the complete image is squashed to a square; otherwise windows slide over it, see `windows`. Logits
  are resampled linearly to the pixels of the image on its canvas; the class of the largest is compared with the label
  map. `segment` maps (params, images [B, size, size, 3]) to logits [B, rows, columns, classes].
  """

  def count(params, canvases, sizes, label_maps):
    logits, rows, columns = windows.logits(
      lambda images: segment(params, images), preprocessing, canvases, sizes, stride=stride)

    def row(total, one):
      # Row by row: the logits of all pixels, 150 classes of 512 x 512, would be 157 MB per image.
      weights, truth = one
      line = jnp.einsum('wbr,wbrsc->wbsc', weights, logits)
      predicted = jnp.einsum('wbxs,wbsc->bxc', columns, line).argmax(-1)
      cell = jnp.where(truth == NONE, classes**2, truth.astype(jnp.int32) * classes + predicted)
      return total + jnp.zeros(classes**2, jnp.int32).at[cell].add(1, mode='drop'), None

    start = jnp.zeros(classes**2, jnp.int32)
    total, _ = jax.lax.scan(row, start, (jnp.moveaxis(rows, 2, 0), label_maps.swapaxes(0, 1)))
    return total.reshape(classes, classes)

  split = batch_sharding(mesh)
  return jax.jit(count, in_shardings=(None, split, split, split), out_shardings=NamedSharding(mesh, PartitionSpec()))


def confusion(
  confusion_of: ConfusionFn, params: Params, source: Source, data: Data, *, classes: int, batch_size: int, mesh: Mesh
) -> np.ndarray:
  """Counts all pixels of a source that have a class: int64 [C, C], by true class (row) and predicted class (column)."""
  total = np.zeros((classes, classes), np.int64)
  for batch in in_order(source, batch_size=batch_size, canvas=data.canvas, threads=data.threads,
                        stall_timeout_s=data.stall_timeout_s, reads=READS, process_index=jax.process_index(),
                        process_count=jax.process_count()):
    arrays = global_batch(mesh, {name: batch[name] for name in READS})
    total += np.asarray(confusion_of(params, arrays['image'], arrays['size'], arrays['label_map']))
  return total
