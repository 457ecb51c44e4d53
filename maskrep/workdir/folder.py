"""The folder of a run as such: whether it can be written to, and whether it is still the same."""

import os
from pathlib import Path
import tempfile

from maskrep.errors import CheckpointError
from maskrep.workdir import bucket
from maskrep.workdir.bucket import in_bucket


def make_writable(workdir: Path) -> None:
  """Creates the folder if it does not exist, and tests that a file in it can be written.

  Raises:
    CheckpointError: it cannot be created or written to.
  """
  if in_bucket(workdir):
    try:
      bucket.server_time(workdir)
    except OSError as error:
      raise CheckpointError(f'--workdir={workdir}: cannot be written ({error}); give a bucket in which you may create '
                            'and delete objects (roles/storage.objectUser)') from error
    return
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=workdir) as probe:
      probe.write(b'probe')
      probe.flush()
      os.fsync(probe.fileno())
  except OSError as error:
    raise CheckpointError(f'--workdir={workdir}: cannot be written ({error.strerror}); give a folder on a disk with '
                          'space that you may write to') from error


def not_written(workdir: Path, failed: OSError) -> CheckpointError:
  return CheckpointError(f'--workdir={workdir}: cannot be written any more ({failed}); free space or repair the disk, '
                         'then run the same command: it goes on from the newest checkpoint')


class Place:
  """A workdir while a run writes to it: detects whether it is still the same folder.

  Somebody may remove it and start another run of that name, whose lock is then another file. In a bucket another run
  may have taken the lease.
  """

  def __init__(self, workdir: Path):
    self._path = workdir / 'lock'
    self._lease = bucket.read(self._path).content if in_bucket(workdir) else None
    # Open for as long as this object lives, so that no new file gets its inode.
    self._file = open(self._path) if self._lease is None and self._path.exists() else None

  def lost(self) -> CheckpointError | None:
    """The error to end with if the folder was replaced or removed, else None."""
    try:
      if self._lease is not None:
        if not self._lease or bucket.read(self._path).content == self._lease:
          return None
      elif not self._file or os.path.samestat(os.stat(self._path), os.fstat(self._file.fileno())):
        return None
    except OSError:
      pass
    return CheckpointError(f'--workdir={self._path.parent}: was removed or replaced while the run went on, which '
                           'cannot be saved; run the same command to start anew, and leave its folder in place')
