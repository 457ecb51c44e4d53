"""Signals that ask a process to stop. If nothing can be lost they end it at once, otherwise after a save.

A Python handler runs only when the main thread returns from a call, and XLA compiles for minutes in one call. So the
handler does nothing; the signal also writes a byte, for which a thread waits.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import logging
import os
import signal
import sys
import threading
import time
import traceback
from typing import NoReturn

from maskrep.errors import Preempted, RunError

SIGNALS = signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP
PATIENCE_S = 10  # after the first signal, in which further ones are ignored: schedulers and terminals send several
BLOCKED_S = 2  # after which the end does not wait for a console that takes no output, nor for files to be tidied

Answer = Callable[[str], None]

log = logging.getLogger(__name__)


class _State:
  """The state of this process: there is one, as there is one set of signal handlers.

  Attributes:
    lock: held while a signal is answered.
    watched: whether the process is inside `watched`.
    ends_process: whether a signal without another answer ends the process.
    answers: a signal is answered by the last one.
    last_acts: called with the error before the process ends.
    first: the time.monotonic() of the first signal that was answered without ending the process.
  """

  def __init__(self):
    self.lock = threading.RLock()
    self.watched = self.ends_process = False
    self.answers: list[Answer] = []
    self.last_acts: list[Callable[[Exception], None]] = []
    self.first: float | None = None


_state = _State()


@contextlib.contextmanager
def watched(numbers: Sequence[signal.Signals] = SIGNALS, *, ends_process: bool = False) -> Iterator[None]:
  """Answers signals inside the block. Enter it in the main thread; nested blocks do nothing.

  Args:
    numbers: the signals to answer, of `SIGNALS`.
    ends_process: whether a signal ends the process outside any `answered`. For commands: a library must not do that.
  """
  if _state.watched:
    yield
    return
  reader, writer = os.pipe()
  os.set_blocking(writer, False)
  handled = [number for number in numbers
             if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]  # nohup has it ignored
  before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
  old = {number: signal.signal(number, _received) for number in handled}
  _state.watched, _state.ends_process, _state.first = True, ends_process, None
  thread = threading.Thread(target=_watch, args=(reader,), name='signals', daemon=True)
  thread.start()
  try:
    yield
  finally:
    for number, handler in old.items():
      if signal.getsignal(number) == _received:  # not after `ignore`
        signal.signal(number, handler)
    signal.set_wakeup_fd(before)
    os.write(writer, b'\0')  # ends the thread
    thread.join()
    os.close(reader)
    os.close(writer)
    _state.watched = _state.ends_process = False


def end_process_at_signals() -> bool:
  """True if a signal that is not answered otherwise ends the process."""
  return _state.watched and _state.ends_process


@contextlib.contextmanager
def answered(answer: Answer) -> Iterator[None]:
  """Inside the block, answers the first signal by calling `answer` with its name, in another thread.

  If `answer` returns, the process goes on; a RunError that it raises ends the process. Leaving the block waits for it.
  """
  with _state.lock:
    _state.answers.append(answer)
  try:
    yield
  finally:
    with _state.lock:
      _state.answers.remove(answer)


@contextlib.contextmanager
def last_act(act: Callable[[Exception], None]) -> Iterator[None]:
  """Inside the block, calls `act` with the error if a signal ends the process: no other cleanup happens then."""
  with _state.lock:
    _state.last_acts.append(act)
  try:
    yield
  finally:
    with _state.lock:
      _state.last_acts.remove(act)


def retake(number: signal.Signals) -> None:
  """Inside `watched`, answers a signal again after a library has taken it over. Call in the main thread."""
  if _state.watched:
    signal.signal(number, _received)


def ignore() -> None:
  """Ignores signals from now on: the process is about to end, with an exit code that they would replace."""
  for number in SIGNALS:
    signal.signal(number, signal.SIG_IGN)


def _received(*_) -> None:
  """Does nothing, but there must be a handler for the byte to be written."""


def _watch(reader: int) -> None:
  while byte := os.read(reader, 1)[0]:
    if byte in SIGNALS:
      with _state.lock:
        _answer(signal.Signals(byte))


def _answer(number: signal.Signals) -> None:
  now = time.monotonic()
  if _state.first is not None:
    if now - _state.first >= PATIENCE_S:
      error = RunError(f'ended by a second {number.name}, before all was saved; run the same command to go on from the '
                       'newest checkpoint')
      error.exit_code = 128 + number  # as a shell has it for a signal that is not handled
      _end(error)
    _say(f'{number.name}: ignored, as the run is stopping already; to end it at once, send a signal '
         f'{PATIENCE_S} s after the first, or kill -9 {os.getpid()}')
    return
  if not _state.answers and not _state.ends_process:
    return
  try:
    if not _state.answers:
      raise Preempted(f'stopped by {number.name}; there was nothing to save; run the same command to '
                      'go on')
    _state.first = now
    _state.answers[-1](number.name)
  except RunError as error:
    _end(error)
  except Exception as error:  # of any type: nobody else would see it
    traceback.print_exc()
    _end(error)


def _end(error: Exception) -> NoReturn:
  """Ends the process as a kill would, whatever the main thread is doing, after the last acts."""
  code = getattr(error, 'exit_code', 1)
  late = threading.Timer(BLOCKED_S, os._exit, (code,))
  late.daemon = True
  late.start()
  for act in reversed(_state.last_acts):
    try:
      act(error)
    except Exception as failed:  # of any type: the process ends
      log.warning('%s', failed)
  if isinstance(error, RunError):
    _say(error)
  sys.stdout.flush()
  os._exit(code)


def _say(message: object) -> None:
  print(f'\nmaskrep: {message}', file=sys.stderr, flush=True)
