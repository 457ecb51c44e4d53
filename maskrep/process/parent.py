"""The process that started this one, if this one should not outlive it."""

import ctypes
import os
import signal
import sys

PARENT = 'MASKREP_PARENT'  # the environment's name for the process whose end ends this one
PR_SET_PDEATHSIG = 1  # of prctl(2)


def bound_to_me() -> dict[str, str]:
  """The environment for a child process that is to be stopped when this process ends, however that happens."""
  return os.environ | {PARENT: str(os.getpid())}


def obey() -> None:
  """Has SIGTERM sent to this process when its parent ends, if the parent requested that. Only on Linux."""
  parent = os.environ.pop(PARENT, '')
  if not parent or sys.platform != 'linux':
    return
  ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
  if os.getppid() != int(parent):  # it has ended already
    os.kill(os.getpid(), signal.SIGTERM)
