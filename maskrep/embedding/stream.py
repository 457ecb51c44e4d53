"""The vectors of a source, part by part: only a few batches are in memory, whatever its length."""

from collections.abc import Iterator
import contextlib
import threading

import jax
from jax.experimental.multihost_utils import process_allgather
import numpy as np

from maskrep.data.datasets import Data
from maskrep.data.loader import in_order
from maskrep.data.sources.source import Example, Source
from maskrep.devices.agreement import gather
from maskrep.devices.mesh import global_batch, make_mesh
from maskrep.embedding.parts import Part, as_utf8
from maskrep.errors import DataError
from maskrep.evaluation import features
from maskrep.evaluation.encoders import StoredEncoder
from maskrep.evaluation.features import READS

RECORDS = 4096  # of a part, or one batch if that is more


def part_records(batch_size: int) -> int:
  """The records of a part: full batches, so that these are the same whichever parts are computed."""
  return max(1, RECORDS // batch_size) * batch_size


def stream(
  encoder: StoredEncoder, data: Data, source: Source, numbers: list[int], broken: int
) -> Iterator[tuple[int, Part]]:
  """Yields parts by number, the same in all processes except for the names, which only process 0 has.

  Args:
    numbers: the parts to yield, ascending.
    broken: number of images in the other parts that cannot be read.

  Raises:
    DataError: more than `data.max_broken_fraction` of the images of the source cannot be read.
  """
  batch_size, mesh = encoder.encoding.batch_size, make_mesh()
  records = part_records(batch_size)
  wanted = _Named(source, np.concatenate([
    np.arange(number * records, min((number + 1) * records, len(source))) for number in numbers]))
  encode = features.jit_encoder(encoder.function(0.0, whole=False, seed=0), mesh)
  batches = in_order(
    wanted, batch_size=batch_size, canvas=data.canvas, threads=data.threads, stall_timeout_s=data.stall_timeout_s,
    reads=(*READS, 'label'), process_index=jax.process_index(), process_count=jax.process_count())
  found = []
  with contextlib.closing(batches):
    for i, batch in enumerate(batches, 1):
      vectors = np.asarray(encode(encoder.weights, global_batch(mesh, {name: batch[name] for name in READS})))
      valid, labels = process_allgather((batch['valid'], batch['label']), tiled=True)
      names = [name for process in gather({'names': wanted.names(batch['position'])}) for name in process['names']]
      done = min(i * batch_size, len(wanted))
      lost = done - (i - 1) * batch_size - int(valid.sum())
      broken += lost
      if broken > data.max_broken_fraction * len(source):
        raise DataError(f'config.data.max_broken_fraction={data.max_broken_fraction}: {broken} of {len(source)} images '
                        f'of {source.fingerprint} cannot be read; repair them, or raise the limit')
      found.append(Part(np.array(names)[valid], labels[valid], vectors[valid], np.array(lost)))
      if done % records == 0 or done == len(wanted):
        yield numbers[(done - 1) // records], _joined(found)
        found = []


class _Named:
  """Some records of a source, by index; remembers their names, as asking for them may mean reading them again."""

  map_classes, map_lookup = 0, None

  def __init__(self, source: Source, indices: np.ndarray):
    self._source, self._indices = source, indices
    self.num_classes, self.fingerprint = source.num_classes, source.fingerprint
    self._names: dict[int, str] = {}
    self._lock = threading.Lock()

  def __len__(self) -> int:
    return len(self._indices)

  def __getitem__(self, index: int) -> Example:
    example = self._source[int(self._indices[index])]
    with self._lock:
      self._names[index] = example.name
    return example

  def name(self, index: int) -> str:
    return self._source.name(int(self._indices[index]))

  def names(self, positions: np.ndarray) -> list[str]:
    """The names of records that have been read, which are then forgotten; '' for others."""
    with self._lock:
      names = [self._names.pop(int(position), '') for position in positions]
    return list(map(as_utf8, names))


def _joined(parts: list[Part]) -> Part:
  names, labels, vectors, broken = zip(*parts, strict=True)
  return Part(np.concatenate(names), np.concatenate(labels), np.concatenate(vectors), np.sum(broken))
