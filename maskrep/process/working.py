"""Reports what a process is doing if it takes long: a user who sees nothing thinks that nothing happens."""

from collections.abc import Iterator
import contextlib
import sys
import threading
import time

QUIET_S = 2.0  # nothing is said of what takes less


@contextlib.contextmanager
def working(what: str, *, aloud: bool = True) -> Iterator[None]:
  """Prints to standard error what the block does, if it takes long, and afterwards how long it took.

  Args:
    what: the activity, such as 'compiling the training step'.
    aloud: whether to print: of several processes, one is enough.
  """
  started, said = time.monotonic(), threading.Event()

  def say():
    said.set()
    print(f'{what}, since {time.strftime("%H:%M:%S", time.localtime(time.time() - QUIET_S))} ...', file=sys.stderr,
          flush=True)

  timer = threading.Timer(QUIET_S, say)
  timer.daemon = True
  if aloud:
    timer.start()
  try:
    yield
  finally:
    timer.cancel()
  if said.is_set():
    print(f'{what}: {time.monotonic() - started:.0f} s', file=sys.stderr, flush=True)
