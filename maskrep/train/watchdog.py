"""Ends a run whose step does not end: a collective that waits in vain, a driver or a device that hangs.

The main thread is then in a call that never returns, so this is a thread. Reading images has a limit of its own, see
`data.read_ahead`.
"""

from collections import deque
from collections.abc import Iterator
import contextlib
import faulthandler
import statistics
import sys
import threading
import time

from maskrep.devices import watch
from maskrep.errors import Hung

LEAST_S = 600  # a step may be this long, whatever the others take
FACTOR = 20  # and this many times as long as the median of the last ones
REMEMBERED = 101  # steps
TICK_S = 1


class Watchdog:
  """Watches the steps of a run. Use as a context manager."""

  def __init__(self):
    self._durations = deque(maxlen=REMEMBERED)
    self._step: tuple[int, float] | None = None  # under way: its number, and the time.monotonic() of its start
    self._over = threading.Event()

  def __enter__(self):
    threading.Thread(target=self._watch, name='watchdog', daemon=True).start()
    return self

  def __exit__(self, *_):
    self._over.set()

  @contextlib.contextmanager
  def step(self, number: int) -> Iterator[None]:
    """Ends the process with a line, the stacks of all threads and exit code 6 if the block does not end in time."""
    self._step = number, (began := time.monotonic())
    try:
      yield
    finally:
      self._step = None
    self._durations.append(time.monotonic() - began)

  def _limit_s(self) -> float:
    return max(LEAST_S, FACTOR * statistics.median(self._durations)) if self._durations else LEAST_S

  def _watch(self) -> None:
    step, waited, before = None, 0.0, time.monotonic()
    while not self._over.wait(TICK_S):
      now = time.monotonic()
      waited = waited + min(now - before, 2 * TICK_S) if self._step is step else 0.0  # a suspended job goes on
      step, before = self._step, now
      if step and waited > (limit := self._limit_s()):
        watch.end(Hung.exit_code, f'step {step[0]} did not end within {limit:.0f} s; the stacks of all threads are '
                  'above; run the same command to go on from the newest checkpoint', before=_dump)


def _dump() -> None:
  if sys.__stderr__ is not None:  # as in a process that was started without one
    faulthandler.dump_traceback(sys.__stderr__)
