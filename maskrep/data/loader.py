"""The stream of batches. It has no state: batch t is computed from the seed and t alone."""

from collections.abc import Generator
import contextlib
import functools
import itertools
import math

from grain.experimental import index_shuffle
import numpy as np

from maskrep.data.batch import Batch, BrokenImages, check_fields, empty_batch, read_into
from maskrep.data.decode import BrokenImage
from maskrep.data.read_ahead import read_ahead
from maskrep.data.sources.source import Source
from maskrep.errors import ConfigError, DataError

ORDER = 1  # to be raised whenever a seed comes to mean another order of the records
ATTEMPTS = 100  # records tried for one position


class Loader:
  """Shuffled batches for training, across epochs: `loader[t]` is this process's part of batch t.

  Position i of the stream belongs to epoch i // n for a source of n records, and every epoch has its own order of all
  records. A batch may span two epochs. The records of batch t do not depend on the number of processes. An unreadable
  record is replaced by the record at the same place in the next epoch. Positions count modulo 2 ** 32.

  A batch holds this process's rows of the fields in `reads`, see `maskrep.types`, and one more field:
    broken  bool [B]  the record of this position could not be read and was replaced

  Args:
    source: the records, see `maskrep.data.sources`.
    batch_size: examples per batch, over all processes.
    canvas: height and width of the canvas, in pixels.
    seed: seed of the order of the records.
    threads: threads that read and decode in `iterate`.
    max_broken_fraction: share of the records read that may be broken; 0 allows none.
    stall_timeout_s: seconds without an image before `iterate` dumps all stacks; after twice as long it ends.
    reads: fields of the batch that the consumer reads. Label maps are read and decoded only if they are among these;
      the source must have them.
    process_index, process_count: this process, and the number of processes that share the batch.

  Raises:
    ConfigError: the batch cannot be divided by the number of processes.
    ValueError: a name in `reads` is not a field of a batch.
  """

  def __init__(
    self,
    source: Source,
    *,
    batch_size: int,
    canvas: int,
    seed: int,
    threads: int,
    max_broken_fraction: float,
    stall_timeout_s: int,
    reads: tuple[str, ...],
    process_index: int = 0,
    process_count: int = 1,
  ):
    if batch_size % process_count:
      raise ConfigError(f'config.batch_size={batch_size}: must be a multiple of the {process_count} processes')
    check_fields(reads)
    self.source = source
    self.batch_size = batch_size
    self.canvas = canvas
    self._seed = seed
    self._threads = threads
    self._max_broken_fraction = max_broken_fraction
    self._stall_timeout_s = stall_timeout_s
    self._reads = reads
    self._rows = batch_size // process_count
    self._first_row = process_index * self._rows
    self._broken = BrokenImages()

  @property
  def fingerprint(self) -> str:
    """Identifies the records and their order: a run can be resumed only if it is unchanged."""
    return f'{self.source.fingerprint}, order {ORDER}'

  def __getitem__(self, step: int) -> Batch:
    """Reads a batch in the calling thread. Raises DataError if ATTEMPTS records in a row are broken."""
    batch = self._empty(step)
    for row in range(self._rows):
      self._fill(batch, row)
    return self._selected(batch)

  def iterate(self, start: int) -> Generator[Batch]:
    """Yields loader[start], loader[start + 1], ... without end, read ahead by threads. Close it to stop the threads.

    Raises:
      DataError: more images were broken than `max_broken_fraction` and chance explain, ATTEMPTS in a row were broken,
        or a label is not of any class.
      Stalled: the source hangs.
    """
    seen = broken = 0
    stream = read_ahead(map(self._empty, itertools.count(start)), self._fill, self._name_positions,
                        threads=self._threads, stall_timeout_s=self._stall_timeout_s)
    with contextlib.closing(stream):
      for batch in stream:
        seen += self._rows
        broken += int(batch['broken'].sum())
        expected = self._max_broken_fraction * seen
        # Four standard deviations and one image more: a first broken image is no evidence against a data set.
        if broken > (expected and 1 + expected + 4 * math.sqrt(expected)):
          raise DataError(
            f'config.data.max_broken_fraction={self._max_broken_fraction}: {broken} of {seen} images cannot be read '
            f'({self._broken}); repair or remove them, or raise the limit'
          )
        yield self._selected(batch)

  def names(self, step: int, most: int) -> list[str]:
    """The names of the first examples in this process's part of a batch, at most `most`.

    Records that cannot be read are named by number.
    """
    first = step * self.batch_size + self._first_row
    found = []
    for position in range(first, first + min(most, self._rows)):
      record = self._record(position)
      try:
        found.append(self.source[record].name)
      except (BrokenImage, OSError):
        found.append(f'record {record}, which cannot be read')
    return found

  def _record(self, position: int) -> int:
    epoch, place = divmod(position, len(self.source))
    return index_shuffle(place, max_index=len(self.source) - 1, seed=_epoch_seed(self._seed, epoch), rounds=4)

  def _name_positions(self, positions: list[int]) -> str:
    return _name_records(self.source, map(self._record, positions))

  def _empty(self, step: int) -> Batch:
    batch = empty_batch(step * self.batch_size + self._first_row, self._rows, self.canvas, self._reads)
    return batch | {'broken': np.zeros(self._rows, bool)}

  def _fill(self, batch: Batch, row: int) -> None:
    position = int(batch['position'][row])
    for attempt in range(ATTEMPTS):
      record = self._record(position + attempt * len(self.source))
      if read_into(batch, row, self.source, record, self._broken):
        return
      batch['broken'][row] = True
    raise DataError(f'config.data.source: {ATTEMPTS} records in a row cannot be read ({self._broken}); repair them')

  def _selected(self, batch: Batch) -> Batch:
    return {name: batch[name] for name in (*self._reads, 'broken')}


def in_order(
  source: Source, *, batch_size: int, canvas: int, threads: int, stall_timeout_s: int, reads: tuple[str, ...],
  process_index: int = 0, process_count: int = 1, broken: BrokenImages | None = None,
) -> Generator[Batch]:
  """Yields every record of a source once, in order, in batches of one static size, for evaluation.

  Each process gets its part of each batch: `batch_size // process_count` rows.

  A batch holds the fields in `reads`, as in `Loader`, with `position` the index of the record, and one more field:
    valid  bool [B]  False if the row pads the last batch, or its record cannot be read (it is logged)
  An invalid row has a black image of 1 x 1 pixels, without a class.

  Args:
    broken: collects the unreadable images, for a caller that needs the reasons.

  Raises:
    Stalled: the source hangs.
    ValueError: a name in `reads` is not a field of a batch.
  """
  check_fields(reads)
  broken = BrokenImages() if broken is None else broken
  rows = batch_size // process_count

  def empty(start: int) -> Batch:
    return empty_batch(start + process_index * rows, rows, canvas, reads) | {'valid': np.zeros(rows, bool)}

  def fill(batch: Batch, row: int) -> None:
    record = int(batch['position'][row])
    batch['valid'][row] = record < len(source) and read_into(batch, row, source, record, broken)

  def stream() -> Generator[Batch]:
    batches = read_ahead(
      map(empty, range(0, len(source), batch_size)), fill, lambda positions: _name_records(source, positions),
      threads=threads, stall_timeout_s=stall_timeout_s)
    with contextlib.closing(batches):
      for batch in batches:
        yield {name: batch[name] for name in (*reads, 'valid')}

  return stream()


def _name_records(source: Source, records) -> str:
  return f'records {", ".join(map(str, records))} of {source.fingerprint}'


@functools.lru_cache(maxsize=128)
def _epoch_seed(seed: int, epoch: int) -> int:
  # A hash, not seed + epoch: with the sum, runs with seeds 0 and 1 would share all orders but the first.
  return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
