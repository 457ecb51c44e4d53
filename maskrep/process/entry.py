"""A command as a process, from its first statement to its exit code."""

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `watched`: Ctrl-C ends it, and not by a traceback out of an import

# ruff: noqa: E402
import faulthandler
import importlib
import os
import sys
import threading
from typing import NoReturn

from maskrep.process import console, parent, signals


def run_process(module: str, argv: list[str]) -> NoReturn:
  """Runs `main(argv)` of a module, and ends the process with the exit code that it returns."""
  console.protect()
  if sys.__stderr__ is not None:
    faulthandler.register(signal.SIGQUIT, sys.__stderr__)  # kill -QUIT: the stacks of all threads; the process goes on
  with signals.watched(ends_process=True):  # before the imports, which take seconds
    parent.obey()
    _exit(importlib.import_module(module).main(argv))


def _exit(code: int) -> NoReturn:
  """Ends the process even if a thread is blocked in a read, for which sys.exit would wait."""
  signals.ignore()
  # Closing a loader ends its threads, except those that are blocked.
  if any(thread.name.startswith('read') for thread in threading.enumerate()):
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
  sys.exit(code)
