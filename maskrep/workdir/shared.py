"""Whether the processes of a run see the same workdir: process 0 writes a file, the others look for it."""

import os
from pathlib import Path
import secrets
import socket
import time

from maskrep.errors import CheckpointError
from maskrep.workdir.folder import make_writable

PATIENCE_S = 10  # for file systems over a network
PREFIX = 'shared-'


def offer(workdir: Path) -> str:
  """Writes a file of a random name, which it returns. To be called with the exclusive lock held.

  Raises:
    CheckpointError: it cannot be written.
  """
  name = PREFIX + secrets.token_hex(8)
  try:
    withdraw(workdir)  # files of processes that were killed
    (workdir / name).touch()
  except OSError as error:
    raise CheckpointError(f'--workdir={workdir}: cannot be written ({error.strerror})') from error
  return name


def find(workdir: Path, name: str) -> None:
  """Looks for the file that process 0 has written, and tests that files can be written here as well.

  Raises:
    CheckpointError: it is not there, or they cannot.
  """
  end = time.monotonic() + PATIENCE_S
  # The list of a folder is read anew, while a network file system remembers for a while that a name was not there.
  while name not in _names(workdir):
    if time.monotonic() > end:
      raise CheckpointError(f'--workdir={workdir}: is not the folder of process 0: a file written there is not seen on '
                            f'{socket.gethostname()}; give all processes one folder on a file system that they share')
    time.sleep(0.2)
    _names(workdir.parent)
  make_writable(workdir)


def withdraw(workdir: Path) -> None:
  for path in workdir.glob(f'{PREFIX}*'):
    path.unlink(missing_ok=True)


def _names(folder: Path) -> list[str]:
  try:
    return os.listdir(folder)
  except OSError:
    return []
