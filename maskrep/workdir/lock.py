"""The lock of a workdir: exclusive for a run, which writes, shared for any number of readers."""

from collections.abc import Iterator
import contextlib
import fcntl
import os
from pathlib import Path
import socket
from typing import IO

from maskrep.errors import CheckpointError
from maskrep.workdir import lease
from maskrep.workdir.bucket import in_bucket
from maskrep.workdir.events import now
from maskrep.workdir.folder import not_written


@contextlib.contextmanager
def exclusive_lock(workdir: Path) -> Iterator[None]:
  """Holds the exclusive lock of a workdir. It is released when the process ends, however that happens.

  In a bucket it is a lease, which a killed process leaves until it expires.

  Raises:
    CheckpointError: another process holds the lock; or, in place of an OSError in the block, the workdir is full, gone
      or read-only.
  """
  if in_bucket(workdir):
    try:
      with lease.held(workdir):
        yield
    except OSError as error:
      raise not_written(workdir, error) from error
    return
  with _opened(workdir, 'a+') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      file.seek(0)
      raise CheckpointError(f'--workdir={workdir}: another run is under way there ({file.read().strip()}); wait for '
                            'it, stop it, or choose another --workdir') from error
    try:
      file.truncate(0)
      file.write(f'process {os.getpid()} on {socket.gethostname()} since {now()}\n')
      file.flush()
      yield
    except OSError as error:
      raise not_written(workdir, error) from error


@contextlib.contextmanager
def shared_lock(workdir: Path) -> Iterator[None]:
  """Holds the shared lock of a workdir: others may read at the same time, and no run can start.

  Raises:
    CheckpointError: a run is under way, whose next checkpoint would replace the one being read.
  """
  if in_bucket(workdir):
    if name := lease.holder(workdir):
      raise CheckpointError(f'{workdir}: a run is under way there ({name}); wait for its end, or stop it')
    yield
    return
  with contextlib.ExitStack() as stack:
    if (workdir / 'lock').exists():
      file = stack.enter_context(_opened(workdir, 'r'))
      try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
      except BlockingIOError as error:
        raise CheckpointError(f'{workdir}: a run is under way there ({file.read().strip()}); wait for its end, or stop '
                              'it') from error
    yield


def _opened(workdir: Path, mode: str) -> IO[str]:
  path = workdir / 'lock'
  try:
    return open(path, mode, errors='replace')
  except OSError as error:
    raise CheckpointError(f'{path}: cannot be opened as a file ({error.strerror}); remove it if no run is under way '
                          'there, then run the same command') from error
