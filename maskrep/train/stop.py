"""Stopping on a signal: the step under way is finished, and all processes agree on it."""

import os
import signal

import jax
from jax.experimental import multihost_utils

SIGNALS = signal.SIGTERM, signal.SIGINT, signal.SIGUSR1


class Stop:
  """Records the first of `SIGNALS`; a second has its default effect. Use as a context manager, in the main thread."""

  def __init__(self):
    self._received = ''

  def __enter__(self):
    # With several processes, jax.distributed handles SIGTERM and tells the others; a handler here would replace it.
    several = jax.process_count() > 1
    self._old = {number: signal.signal(number, self._forward if several else self._record)
                 for number in SIGNALS if not (several and number == signal.SIGTERM)}
    return self

  def __exit__(self, *_):
    for number, handler in self._old.items():
      signal.signal(number, handler)

  def received(self, step: int) -> str:
    """The name of the signal to stop for after this step, or ''. To be called once per step, in every process."""
    if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step):
      return 'SIGTERM'
    return self._received

  def _record(self, number: int, _) -> None:
    self._received = signal.Signals(number).name
    for other in SIGNALS:
      signal.signal(other, signal.SIG_DFL)

  def _forward(self, number: int, _) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
