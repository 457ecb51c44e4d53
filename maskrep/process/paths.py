"""Paths given by a user. Does not import jax: command lines are read first."""

import os
from pathlib import Path

from maskrep.errors import ConfigError


class OnThisMachine:
  """The range of a field or flag that is a local path, not the address of a bucket."""

  def __contains__(self, path: str) -> bool:
    return '://' not in path

  def __str__(self) -> str:
    return ('a path on this machine, as buckets are not supported yet; mount it (Cloud Storage FUSE) and give the path '
            'of the mount')


class OnThisMachineOrInABucket(OnThisMachine):
  """The range of the workdir of a command that can write to a bucket of Google Cloud Storage."""

  def __contains__(self, path: str) -> bool:
    return path.startswith(GS) or super().__contains__(path)

  def __str__(self) -> str:
    return f'a path on this machine or {GS}BUCKET/FOLDER; other buckets are not supported, as orbax cannot write them'


GS = 'gs://'
ON_THIS_MACHINE, OR_IN_A_BUCKET = OnThisMachine(), OnThisMachineOrInABucket()
NAME_MAX = 255  # bytes of a name, of every common file system


def check_path(what: str, path: str, allowed: OnThisMachine = ON_THIS_MACHINE) -> None:
  """Checks a path to read from or write to, which need not exist.

  Args:
    what: the flag and its value, for errors.
    allowed: whether it may be in a bucket.

  Raises:
    ConfigError: it is an address, is not UTF-8, has a name that is too long, or is inside the checkpoints of a run.
  """
  if path not in allowed:
    raise ConfigError(f'{what}: must be {allowed}')
  if path.startswith(GS):
    return
  full = Path(os.path.expanduser(path)).absolute()
  if not _is_utf8(str(full)):  # what is written in C++ would open another file
    raise ConfigError(f'{what}: has letters outside ASCII that are not UTF-8, or the locale is not; set PYTHONUTF8=1, '
                      'or give another path')
  if '\0' in path or any(len(name.encode()) > NAME_MAX for name in full.parts):
    raise ConfigError(f'{what[:80]!a}...: holds a zero byte or a name of more than {NAME_MAX} bytes; give another path')
  full = full.resolve()
  for folder in (full, *full.parents):
    if folder.name == 'checkpoints' and all((folder.parent / name).exists() for name in ('config.json', 'run.json')):
      raise ConfigError(f'{what}: is inside the checkpoints of the run in {folder.parent}; give another path')


def _is_utf8(path: str) -> bool:
  try:
    return path.encode() == os.fsencode(path)
  except UnicodeEncodeError:
    return False
