"""The lock of a workdir in a bucket: the object `lock`. Its holder renews it; once it expires, others may take it.

Whoever wants it compares times of the server alone, and watches the lease that is there: if it is renewed, its holder
lives.
"""

from collections.abc import Iterator
import contextlib
import datetime
import logging
import os
from pathlib import Path
import secrets
import socket
import threading
import time

from maskrep.errors import CheckpointError
from maskrep.workdir import bucket
from maskrep.workdir.events import now

RENEWED_S, EXPIRES_S, LOOKS_S = 10.0, 60.0, 1.0

log = logging.getLogger(__name__)


@contextlib.contextmanager
def held(workdir: Path) -> Iterator[None]:
  """Holds the lease of a workdir. A process that is killed leaves it, and it expires.

  A lease that is not renewed any more is waited for, up to `EXPIRES_S`.

  Raises:
    CheckpointError: another process renews the lease.
    OSError: it cannot be written.
  """
  path, stop = workdir / 'lock', threading.Event()
  mine = f'process {os.getpid()} on {socket.gethostname()} since {now()} {secrets.token_hex(8)}\n'.encode()
  generation = _taken(workdir, path, mine)
  renewal = threading.Thread(target=_renew, args=(path, mine, generation, stop), name='lease', daemon=True)
  renewal.start()
  try:
    yield
  finally:
    stop.set()
    renewal.join()
    with contextlib.suppress(OSError):  # it expires
      found = bucket.read(path)
      if found.content == mine:
        bucket.remove(path, found.generation)


def holder(workdir: Path) -> str:
  """The name of the holder of the lease, for a message; '' if there is none.

  A lease expires by the clock of this machine here: reading the server's takes the right to write.
  """
  found = bucket.read(workdir / 'lock')
  if found.updated is None or (datetime.datetime.now(datetime.UTC) - found.updated).total_seconds() > EXPIRES_S:
    return ''
  return _name(found)


def _taken(workdir: Path, path: Path, mine: bytes) -> int:
  """Writes the lease; returns its generation."""
  first = seen = bucket.read(path)
  age = (bucket.server_time(workdir) - first.updated).total_seconds() if first.updated else 0
  expires = time.monotonic() + EXPIRES_S - age
  if first.generation and age < EXPIRES_S:
    log.warning('--workdir=%s: %s has its lease, last renewed %.0f s ago; looking whether it lives', workdir,
                _name(first), age)
  while seen.generation and time.monotonic() < expires:
    time.sleep(LOOKS_S)
    seen = bucket.read(path)
    if seen.generation not in (0, first.generation):
      raise _refused(workdir, seen)
  try:
    return bucket.write(path, mine, seen.generation)
  except FileExistsError as error:
    raise _refused(workdir, bucket.read(path)) from error


def _renew(path: Path, mine: bytes, generation: int, stop: threading.Event) -> None:
  while not stop.wait(RENEWED_S):
    try:
      generation = bucket.write(path, mine, generation)
    except FileExistsError:
      log.warning('%s: was taken by another process; this run ends at its next checkpoint', path)
      return
    except OSError as error:
      log.warning('%s: could not be renewed (%s)', path, error)


def _refused(workdir: Path, found: bucket.Object) -> CheckpointError:
  return CheckpointError(f'--workdir={workdir}: another run is under way there ({_name(found)}); wait for it, stop it, '
                         'or choose another --workdir')


def _name(found: bucket.Object) -> str:
  return found.content.decode(errors='replace').strip().rpartition(' ')[0]
