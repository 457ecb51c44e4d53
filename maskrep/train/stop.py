"""Being asked to stop: a signal is noted, the step is finished, and every process agrees on the step."""

import os
import signal

import jax
from jax.experimental import multihost_utils

SIGNALS = signal.SIGTERM, signal.SIGINT, signal.SIGUSR1


class Stop:
  """Notes the first of `SIGNALS`; a second one has its usual effect. Use as a context manager, in the main thread."""

  def __init__(self):
    self._asked = ''

  def __enter__(self):
    # Among several processes, jax.distributed watches SIGTERM and spreads the word; a handler here would silence it.
    several = jax.process_count() > 1
    self._old = {number: signal.signal(number, self._pass_on if several else self._note)
                 for number in SIGNALS if not (several and number == signal.SIGTERM)}
    return self

  def __exit__(self, *_):
    for number, handler in self._old.items():
      signal.signal(number, handler)

  def asked(self, step: int) -> str:
    """The name of the signal to stop for after this step, or ''. To be called once a step, in every process."""
    if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step):
      return 'SIGTERM'
    return self._asked

  def _note(self, number: int, _) -> None:
    self._asked = signal.Signals(number).name
    for other in SIGNALS:
      signal.signal(other, signal.SIG_DFL)

  def _pass_on(self, number: int, _) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
