"""The process that started this one, if it should not outlive it."""

import ctypes
import os
import signal
import sys

PARENT = 'MASKREP_PARENT'  # the environment's name for the process whose end ends this one
PR_SET_PDEATHSIG = 1  # of prctl(2)


def bound_to_me() -> dict[str, str]:
  """The environment of a process to start that is to be told to stop when this one ends, however that ends."""
  return os.environ | {PARENT: str(os.getpid())}


def obey() -> None:
  """Has SIGTERM sent to this process when the one that started it ends, if that one wishes so. Only on Linux."""
  parent = os.environ.pop(PARENT, '')
  if not parent or sys.platform != 'linux':
    return
  ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
  if os.getppid() != int(parent):  # it has ended already
    os.kill(os.getpid(), signal.SIGTERM)
