"""Stopping on a signal: the current step is finished and saved, and all processes agree on which step it is."""

from collections.abc import Callable, Iterator
import contextlib
import os
import signal

import jax
from jax.experimental import multihost_utils

from maskrep.errors import Preempted
from maskrep.process import signals


class Stop:
  """Records a signal to stop. Use as a context manager, in the main thread, until the last save has finished.

  Before `begin`, when nothing is trained yet, a signal ends the command at once; so does one in `saving`, after a save.
  """

  def __init__(self):
    self._received, self._begun, self._blocks = '', False, contextlib.ExitStack()

  def __enter__(self):
    self._several = jax.process_count() > 1
    # With several processes, jax.distributed handles SIGTERM and notifies the others.
    self._blocks.enter_context(signals.watched(
      [number for number in signals.SIGNALS if not (self._several and number == signal.SIGTERM)]))
    self._at_once = signals.end_process_at_signals() and not self._several
    if not self._at_once:
      self.begin()
    return self

  def __exit__(self, error_type, *_):
    self._blocks.close()
    if self._several:
      signals.retake(signal.SIGTERM)  # nobody asks jax.distributed about it from now on
    if self._received and error_type is None:
      raise Preempted(f'stopped by {self._received} after the last step, which is saved; run the same command for the '
                      'final table')

  def begin(self) -> None:
    """Marks that from now on there is progress to lose."""
    if not self._begun:
      self._begun = True
      self._blocks.enter_context(signals.answered(_forward if self._several else self._record))

  def received(self, step: int) -> str:
    """The name of the signal to stop for after this step, or ''. Call once per step, in every process."""
    if self._several and multihost_utils.reached_preemption_sync_point(step):
      return 'SIGTERM'
    return self._received

  @contextlib.contextmanager
  def saving(self, save: Callable[[str], None]) -> Iterator[None]:
    """Surrounds work of minutes, such as an evaluation: at a signal, a thread calls `save`, which ends the command."""
    if not self._at_once:
      yield
      return
    with signals.answered(save):
      if self._received:
        save(self._received)
      yield

  def _record(self, name: str) -> None:
    self._received = name


def _forward(_: str) -> None:
  os.kill(os.getpid(), signal.SIGTERM)
