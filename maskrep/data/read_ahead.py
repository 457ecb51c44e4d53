"""Threads that read the next batches while one is consumed, and the response to a read that hangs."""

import collections
from collections.abc import Callable, Generator, Iterable
from concurrent import futures
import faulthandler
import logging
import sys

from maskrep.data.batch import NAMED, Batch
from maskrep.errors import Stalled

CLOSE_S = 5  # for which closing waits for reads under way; a thread that hangs is left behind
AHEAD = 2  # batches that the threads work on while one is consumed

log = logging.getLogger(__name__)


def read_ahead(
  batches: Iterable[Batch], fill: Callable[[Batch, int], None], name: Callable[[list[int]], str], *, threads: int,
  stall_timeout_s: int,
) -> Generator[Batch]:
  """Yields the batches in order, once threads have filled every row of them. Close it to stop the threads.

  Args:
    batches: empty batches.
    fill: reads a row of a batch; called from many threads at once. Any error that it raises ends the iteration.
    name: names the records at some positions, for messages.
    threads: number of threads.
    stall_timeout_s: seconds without a row after which the stacks of all threads are dumped, once per batch.

  Raises:
    Stalled: no row was filled for 2 x `stall_timeout_s`.
  """
  running = collections.deque()

  def first() -> Batch:
    batch, rows = running[0]
    _wait(batch, rows, name, stall_timeout_s)
    running.popleft()
    return batch

  # A plain pool: grain's prefetching holds the interpreter's lock for 0.1 ms per image, ten times as long, and returns
  # images one by one, which the one waiting thread would have to copy into a batch.
  pool = futures.ThreadPoolExecutor(threads, thread_name_prefix='read')
  try:
    for batch in batches:
      running.append((batch, [pool.submit(fill, batch, row) for row in range(len(batch['position']))]))
      if len(running) > AHEAD:
        yield first()
    while running:
      yield first()
  finally:
    pool.shutdown(wait=False, cancel_futures=True)
    reading = [row for _, rows in running for row in rows if not row.done()]
    if not futures.wait(reading, timeout=CLOSE_S).not_done:
      pool.shutdown()


def _wait(batch: Batch, rows: list[futures.Future], name: Callable[[list[int]], str], stall_timeout_s: int) -> None:
  """Waits for the rows of a batch. Raises the error of a row, or Stalled."""
  done = None  # rows that were filled at the timeout before; None before the first one
  for row in rows:
    while True:
      try:
        row.result(stall_timeout_s)
        break
      except TimeoutError:
        before, done = done, sum(row.done() for row in rows)
      positions = [int(p) for p, row in zip(batch['position'], rows, strict=True) if row.running()]
      if before is None:
        log.warning('%s did not arrive within %d s; the stacks of all threads follow', name(positions[:NAMED]),
                    stall_timeout_s)
        if sys.__stderr__ is not None:  # as in a process that was started without one
          faulthandler.dump_traceback(sys.__stderr__)
      elif before == done:
        raise Stalled(f'config.data.stall_timeout_s={stall_timeout_s}: {name(positions[:NAMED])} did not arrive within '
                      f'{2 * stall_timeout_s} s; repair the disk or the network that holds them, or wait longer')
