"""Workdirs in a bucket of Google Cloud Storage: whole objects, replaced only if nobody else has replaced them.

Every object has a generation, a number that changes when it is replaced; a write can ask for the one that it replaces.
A path in a bucket is an `etils.epath.Path`, which has the methods of pathlib.Path that are used for workdirs.
"""
# The extra gcs need not be installed.
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

from collections.abc import Iterator
import contextlib
import datetime
import os
from pathlib import Path
import secrets
import threading
from typing import Any, NamedTuple, cast

from maskrep.errors import ConfigError
from maskrep.process.paths import GS

COMMITTED = 'commit_success.txt'  # orbax writes it last, into the folder of a step

_of_thread = threading.local()  # its client: a connection belongs to one thread


class Object(NamedTuple):
  """An object as it is read: generation 0 if it does not exist. `updated` is a time of the server."""

  content: bytes = b''
  generation: int = 0
  updated: datetime.datetime | None = None


def in_bucket(path: str | os.PathLike) -> bool:
  return os.fspath(path).startswith(GS)


def opened(path: str | os.PathLike) -> Path:
  """The workdir at a path, on this machine or, by its address, in a bucket, which is read once.

  Raises:
    ConfigError: the extra gcs is not installed, or the bucket does not exist or cannot be read.
  """
  if not in_bucket(path):
    return Path(path).expanduser()
  os.environ['EPATH_USE_TF'] = 'false'  # it would read buckets by TensorFlow, wherever that is installed
  address = os.fspath(path).rstrip('/')
  try:
    from etils import epath
    import fsspec
    import gcsfs  # noqa: F401 - epath and orbax use it by its name
    import google.cloud.storage  # noqa: F401
  except ImportError as error:
    raise ConfigError(f'--workdir={address}: needs {error.name}; install the extra: '
                      "pip install 'maskrep[gcs]'") from error
  for name in ('gs', 'gcs'):
    fsspec.config.conf[name] = {'use_listings_cache': False}  # other processes write too
  name, _, prefix = address.removeprefix(GS).partition('/')
  if not name or not prefix:
    raise ConfigError(f'--workdir={address}: must be {GS}BUCKET/FOLDER')
  try:
    with _as_os_error():
      next(iter(_client().list_blobs(name, prefix=f'{prefix}/', max_results=1)), None)
  except OSError as error:
    raise ConfigError(f'--workdir={address}: the bucket cannot be read ({error}); check its name and your rights, and '
                      'log in: gcloud auth application-default login') from error
  return cast(Path, epath.Path(address))


def read(path: Path) -> Object:
  """Reads an object.

  Raises:
    OSError: the bucket cannot be read.
  """
  from google.api_core import exceptions

  while True:
    with _as_os_error():
      blob = _blob(path)
      try:
        blob.reload()
      except exceptions.NotFound:
        return Object()
      with contextlib.suppress(exceptions.NotFound, exceptions.PreconditionFailed):  # it was replaced meanwhile
        return Object(generation=blob.generation, updated=blob.updated,
                      content=blob.download_as_bytes(if_generation_match=blob.generation))


def write(path: Path, content: bytes, generation: int | None = None) -> int:
  """Writes an object, whole; returns its generation.

  Args:
    generation: of the object that may be replaced, 0 if there must be none, None for any.

  Raises:
    FileExistsError: the object is of another generation, and its content is another.
    OSError: it cannot be written.
  """
  from google.api_core import exceptions

  with _as_os_error():
    blob = _blob(path)
    try:
      blob.upload_from_string(content, content_type='application/octet-stream', if_generation_match=generation)
    except (exceptions.PreconditionFailed, exceptions.NotFound) as error:
      found = read(path)
      if found.generation and found.content == content:  # written, and the answer was lost on its way
        return found.generation
      if isinstance(error, exceptions.NotFound) and not generation:
        raise
      raise FileExistsError(f'{path} was written by another process') from error
    return blob.generation


def append(path: Path, content: bytes) -> None:
  """Appends to an object, which is read and written whole: a bucket takes about one write a second of each."""
  while True:
    found = read(path)
    with contextlib.suppress(FileExistsError):
      write(path, found.content + content, found.generation)
      return


def remove(path: Path, generation: int | None = None) -> None:
  """Removes an object, unless it is gone or, with a `generation`, of another."""
  from google.api_core import exceptions

  with _as_os_error(), contextlib.suppress(exceptions.NotFound, exceptions.PreconditionFailed):
    _blob(path).delete(if_generation_match=generation)


def server_time(workdir: Path) -> datetime.datetime:
  """The time of the server, from a small object that is written and removed.

  Raises:
    OSError: it cannot be written.
  """
  path = workdir / f'probe-{secrets.token_hex(8)}'
  with _as_os_error():
    blob = _blob(path)
    blob.upload_from_string(b'probe')
    blob.delete()
  return blob.updated


def remove_folder(folder: Path) -> None:
  """Removes all objects of a folder; the mark of a complete checkpoint first, so that no part of one counts as it."""
  with _as_os_error():
    for blob in sorted(_inside(folder), key=lambda blob: not blob.name.endswith(f'/{COMMITTED}')):
      blob.delete()


def move_folder(folder: Path, target: Path) -> None:
  """Copies all objects of a folder, on the server, then removes them."""
  prefix = _blob(folder).name
  with _as_os_error():
    for blob in _inside(folder):
      blob.bucket.copy_blob(blob, blob.bucket, _blob(target).name + blob.name.removeprefix(prefix))
  remove_folder(folder)


def _inside(folder: Path) -> list[Any]:
  blob = _blob(folder)
  return list(_client().list_blobs(blob.bucket, prefix=f'{blob.name}/'))


def _blob(path: Path) -> Any:
  bucket, _, name = os.fspath(path).removeprefix(GS).partition('/')
  return _client().bucket(bucket).blob(name)


def _client() -> Any:
  from google.cloud import storage

  if not hasattr(_of_thread, 'client'):
    _of_thread.client = storage.Client()
  return _of_thread.client


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
  """Raises the errors of the library, in one line, as what a disk would raise."""
  from google.api_core.exceptions import GoogleAPIError
  from google.auth.exceptions import GoogleAuthError

  try:
    yield
  except (GoogleAPIError, GoogleAuthError) as error:
    raise OSError(' '.join(str(error).split())[:300]) from error
