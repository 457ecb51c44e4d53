"""The folder itself."""

import os
from pathlib import Path
import tempfile

from maskrep.errors import CheckpointError


def make_writable(workdir: Path) -> None:
  """Makes the folder if it is not there, and tests that a file in it can be written.

  Raises:
    CheckpointError: it cannot.
  """
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=workdir) as probe:
      probe.write(b'probe')
      probe.flush()
      os.fsync(probe.fileno())
  except OSError as error:
    raise CheckpointError(f'--workdir={workdir}: cannot be written ({error.strerror}); give a folder on a disk with '
                          'space that you may write to') from error
