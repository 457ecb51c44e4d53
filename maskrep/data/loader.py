"""The stream of batches. It has no state: batch t follows by arithmetic from the seed, whoever asks for it."""

import collections
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
import contextlib
import faulthandler
import functools
import itertools
import logging
import math
import sys
import threading

from grain.experimental import index_shuffle
import numpy as np

from maskrep.data.decode import BrokenImage, decode, decode_label_map
from maskrep.data.label_maps import NONE
from maskrep.data.sources.source import Source
from maskrep.errors import ConfigError, DataError, Stalled

CLOSE_S = 5  # that closing waits for reads under way; a thread that hangs is left behind
AHEAD = 2  # batches that the reading threads work on while one is consumed
ORDER = 1  # to be raised whenever a seed comes to mean another order of the records
ATTEMPTS = 100  # records tried for one position
NAMED = 20  # images named in the log and in an error

Batch = dict[str, np.ndarray]

log = logging.getLogger(__name__)


class Loader:
  """Shuffled batches for training, epoch after epoch without a border: `loader[t]` is this process's part of batch t.

  Position i of the stream lies in epoch i // n of a source of n records, and each epoch has its own order of them all.
  Which records make up batch t does not depend on the number of processes. A record that cannot be read gives its
  place to the one that stands there in the next epoch. Positions count modulo 2 ** 32.

  A batch is as `maskrep.types` has it, for this process's rows, and one field more:
    broken  bool [B]  the record of this position could not be read, another one stands for it

  Args:
    source: the records, see `maskrep.data.sources`.
    batch_size: examples in a batch, of all processes together.
    canvas: height and width of the canvas, in pixels.
    seed: of the order of the records.
    threads: that read and decode in `iterate`.
    max_broken_fraction: of the records read; 0 allows none.
    stall_timeout_s: seconds without an image after which `iterate` dumps all stacks; it ends after twice as long.
    label_maps: whether batches have them; the source must.
    process_index, process_count: this process, and how many share the batch.

  Raises:
    ConfigError: the batch cannot be divided by the number of processes.
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
    label_maps: bool = False,
    process_index: int = 0,
    process_count: int = 1,
  ):
    if batch_size % process_count:
      raise ConfigError(f'config.batch_size={batch_size}: must be a multiple of the {process_count} processes')
    self.source = source
    self.batch_size = batch_size
    self.canvas = canvas
    self._seed = seed
    self._threads = threads
    self._max_broken_fraction = max_broken_fraction
    self._stall_timeout_s = stall_timeout_s
    self._label_maps = label_maps
    self._rows = batch_size // process_count
    self._first_row = process_index * self._rows
    self._broken = _BrokenImages()

  @property
  def fingerprint(self) -> str:
    """Of the records and how they are ordered: a run can be resumed where it is the same."""
    return f'{self.source.fingerprint}, order {ORDER}'

  def __getitem__(self, step: int) -> Batch:
    """Reads a batch in the calling thread. Raises DataError where ATTEMPTS records in a row are broken."""
    batch = self._empty(step)
    for row in range(self._rows):
      self._fill(batch, row)
    return batch

  def iterate(self, start: int) -> Iterator[Batch]:
    """Yields loader[start], loader[start + 1], ... without end, read ahead by threads. Close it to stop them.

    Raises:
      DataError: more images were broken than `max_broken_fraction` and chance explain, or ATTEMPTS in a row, or
        a label is of no class.
      Stalled: the source hangs.
    """
    seen = broken = 0
    wait = functools.partial(_wait, source=self.source, record=self._record, stall_timeout_s=self._stall_timeout_s)
    stream = _read_ahead(map(self._empty, itertools.count(start)), self._fill, wait, self._threads)
    with contextlib.closing(stream):
      for batch in stream:
        seen += self._rows
        broken += int(batch['broken'].sum())
        expected = self._max_broken_fraction * seen
        # Four standard deviations, and one image more: a first broken image is no verdict on a data set.
        if broken > (expected and 1 + expected + 4 * math.sqrt(expected)):
          raise DataError(
            f'config.data.max_broken_fraction={self._max_broken_fraction}: {broken} of {seen} images cannot be read '
            f'({self._broken}); repair or remove them, or raise the limit'
          )
        yield batch

  def names(self, step: int) -> list[str]:
    """Of the examples of this process's part of a batch, as far as they can be read."""
    first = step * self.batch_size + self._first_row
    found = []
    for position in range(first, first + self._rows):
      record = self._record(position)
      try:
        found.append(self.source[record].name)
      except (BrokenImage, OSError):
        found.append(f'record {record}, which cannot be read')
    return found

  def _record(self, position: int) -> int:
    epoch, place = divmod(position, len(self.source))
    return index_shuffle(place, max_index=len(self.source) - 1, seed=_epoch_seed(self._seed, epoch), rounds=4)

  def _empty(self, step: int) -> Batch:
    batch = _empty_batch(step * self.batch_size + self._first_row, self._rows, self.canvas, self._label_maps)
    return batch | {'broken': np.zeros(self._rows, bool)}

  def _fill(self, batch: Batch, row: int) -> None:
    position = int(batch['position'][row])
    for attempt in range(ATTEMPTS):
      record = self._record(position + attempt * len(self.source))
      if _read_into(batch, row, self.source, record, self._broken):
        return
      batch['broken'][row] = True
    raise DataError(f'config.data.source: {ATTEMPTS} records in a row cannot be read ({self._broken}); repair them')


def in_order(
  source: Source, *, batch_size: int, canvas: int, threads: int, stall_timeout_s: int, label_maps: bool = False,
  process_index: int = 0, process_count: int = 1,
) -> Iterator[Batch]:
  """Yields every record of a source once, in its order, in batches of one static size, for evaluation.

  Each process gets its part of each batch: `batch_size // process_count` rows.

  A batch is as `maskrep.types` has it, `position` being the index of the record, and one field more:
    valid  bool [B]  False where the last batch is padded, or the record cannot be read (it is logged)
  A row that is not valid has a black image of 1 x 1 pixels, of no class. `label_maps` is as in `Loader`.

  Raises:
    Stalled: the source hangs.
  """
  broken = _BrokenImages()
  rows = batch_size // process_count

  def empty(start: int) -> Batch:
    return _empty_batch(start + process_index * rows, rows, canvas, label_maps) | {'valid': np.zeros(rows, bool)}

  def fill(batch: Batch, row: int) -> None:
    record = int(batch['position'][row])
    batch['valid'][row] = record < len(source) and _read_into(batch, row, source, record, broken)

  wait = functools.partial(_wait, source=source, record=int, stall_timeout_s=stall_timeout_s)
  return _read_ahead(map(empty, range(0, len(source), batch_size)), fill, wait, threads)


class _BrokenImages:
  """Names of images that cannot be read. Each is logged once, the first NAMED of them."""

  def __init__(self):
    self._names = {}
    self._lock = threading.Lock()

  def add(self, name: str, reason: Exception) -> None:
    with self._lock:
      if name not in self._names and len(self._names) < NAMED:
        log.warning('%s cannot be read: %s', name, reason)
        self._names[name] = None

  def __str__(self) -> str:
    return ', '.join(self._names)


@functools.lru_cache(maxsize=128)
def _epoch_seed(seed: int, epoch: int) -> int:
  # A hash, not seed + epoch: with that, the runs of seeds 0 and 1 would share all orders but the first.
  return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def _empty_batch(first_position: int, rows: int, canvas: int, label_maps: bool) -> Batch:
  maps = {'label_map': np.full((rows, canvas, canvas), NONE, np.uint8)} if label_maps else {}
  return maps | {
    'image': np.zeros((rows, canvas, canvas, 3), np.uint8),
    'size': np.ones((rows, 2), np.int32),
    'position': np.arange(first_position, first_position + rows).astype(np.uint32),
    'label': np.full(rows, -1, np.int32),
  }


def _read_into(batch: Batch, row: int, source: Source, record: int, broken: _BrokenImages) -> bool:
  """Reads one record into a row of a batch. Returns whether it could be read."""
  name = f'record {record} of {source.fingerprint}'
  try:
    example = source[record]
    label, name = example.label, example.name
    pixels = decode(example.image, canvas=batch['image'].shape[1])
    height, width, _ = pixels.shape
    if 'label_map' in batch:
      classes = decode_label_map(example.label_map, source.map_lookup, size=(height, width))
  except (BrokenImage, OSError) as error:
    broken.add(name, error)
    return False
  batch['image'][row, :height, :width] = pixels
  batch['size'][row] = height, width
  batch['label'][row] = label
  if not -1 <= label < (source.num_classes or math.inf):
    raise DataError(f'config.data.source: {name} has label {label}, but there are {source.num_classes} classes; '
                    'prepare the data again')
  if 'label_map' in batch:
    if ((classes >= source.map_classes) & (classes != NONE)).any():
      raise DataError(f'config.data.source: {name} has a label map with a value that is none of its '
                      f'{source.map_classes} classes; prepare the data again')
    batch['label_map'][row, :height, :width] = classes
  return True


def _wait(
  batch: Batch, rows: list[futures.Future], source: Source, record: Callable[[int], int], stall_timeout_s: int
) -> None:
  """Waits for the rows of a batch, whose records `record` knows by their positions. Raises what a row raised."""
  come = None
  for row in rows:
    while True:
      try:
        row.result(stall_timeout_s)
        break
      except TimeoutError:
        before, come = come, sum(row.done() for row in rows)
      records = [record(int(p)) for p, row in zip(batch['position'], rows, strict=True) if row.running()]
      which = f'records {", ".join(map(str, records[:NAMED]))} of {source.fingerprint}'
      if before is None:
        log.warning('%s did not come within %d s; the stacks of all threads follow', which, stall_timeout_s)
        faulthandler.dump_traceback(sys.__stderr__)
      elif before == come:
        raise Stalled(f'config.data.stall_timeout_s={stall_timeout_s}: {which} did not come within '
                      f'{2 * stall_timeout_s} s; mend the disk or the network that holds them, or wait longer')


def _read_ahead(
  batches: Iterable[Batch], fill: Callable[[Batch, int], None], wait: Callable[[Batch, list[futures.Future]], None],
  threads: int,
) -> Iterator[Batch]:
  """Yields the batches in their order, after threads have filled each row of them."""
  running = collections.deque()

  def first() -> Batch:
    wait(*running[0])
    return running.popleft()[0]

  # A plain pool: grain's prefetching holds the interpreter's lock for 0.1 ms an image, ten times as long, and returns
  # images one by one, to be copied into a batch by the one thread that waits for them.
  pool = futures.ThreadPoolExecutor(threads, thread_name_prefix='read')
  try:
    for batch in batches:
      running.append((batch, [pool.submit(fill, batch, row) for row in range(len(batch['label']))]))
      if len(running) > AHEAD:
        yield first()
    while running:
      yield first()
  finally:
    pool.shutdown(wait=False, cancel_futures=True)
    reading = [row for _, rows in running for row in rows if not row.done()]
    if not futures.wait(reading, timeout=CLOSE_S).not_done:
      pool.shutdown()
