"""Tests whether the processes of a run share one workdir: process 0 writes a file, the others look for it."""

import os
from pathlib import Path
import secrets
import socket
import time

from maskrep.errors import CheckpointError
from maskrep.workdir.bucket import in_bucket
from maskrep.workdir.files import write_atomic
from maskrep.workdir.folder import make_writable

PATIENCE_S = 10  # for file systems over a network
PREFIX = 'shared-'


def offer(workdir: Path) -> str:
  """Writes a file with a random name, which it returns. Call with the exclusive lock held.

  Raises:
    CheckpointError: it cannot be written.
  """
  name = PREFIX + secrets.token_hex(8)
  try:
    withdraw(workdir)  # files of processes that were killed
    write_atomic(workdir / name, b'')
  except OSError as error:
    raise CheckpointError(f'--workdir={workdir}: cannot be written ({error.strerror})') from error
  return name


def find(workdir: Path, name: str) -> None:
  """Looks for the file that process 0 has written, and tests that this process can write files too.

  Raises:
    CheckpointError: the file is not there, or none can be written.
  """
  end = time.monotonic() + PATIENCE_S
  # Lists the folder: a network file system remembers for a while that a name did not exist, but lists folders anew.
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
    return [path.name for path in folder.iterdir()] if in_bucket(folder) else os.listdir(folder)
  except OSError:
    return []
