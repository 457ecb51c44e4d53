"""Files that are written completely or not at all, and files with one JSON object per line."""

from collections.abc import Iterator
import contextlib
import io
import json
import os
from pathlib import Path
import shutil
from typing import BinaryIO

from maskrep.process import signals
from maskrep.workdir import bucket
from maskrep.workdir.bucket import in_bucket


def append_json(path: Path, record: dict) -> None:
  """Appends one complete line: a single write to a file opened for appending."""
  append(path, (json.dumps(record) + '\n').encode())


def append(path: Path, content: bytes) -> None:
  if in_bucket(path):
    bucket.append(path, content)
    return
  with open(path, 'ab') as file:
    file.write(content)


def read_json(path: Path) -> tuple[list[dict], list[int]]:
  """The objects of a file with one JSON object per line, and the numbers, from 1, of lines damaged by a kill."""
  records, damaged = [], []
  for number, line in enumerate(path.read_bytes().decode(errors='replace').splitlines() if path.exists() else (), 1):
    try:
      record = json.loads(line)
    except ValueError:
      record = None
    if isinstance(record, dict):
      records.append(record)
    else:
      damaged.append(number)
  return records, damaged


def write_atomic(path: Path, content: str | bytes | memoryview) -> None:
  """Replaces a file: readers see the old or the new content, never a part."""
  with replacing(path) as file:
    file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
  """Yields a file to write to, which replaces `path` when it is complete, and is removed if writing fails."""
  if in_bucket(path):
    with io.BytesIO() as whole:
      yield whole
      bucket.write(path, whole.getvalue())
    return
  partial = path.with_name(f'{path.name}.{os.getpid()}.partial')
  try:
    with open(partial, 'wb') as file, signals.last_act(lambda _: partial.unlink(missing_ok=True)):
      yield file
      file.flush()
      os.fsync(file.fileno())
    partial.replace(path)
  finally:
    partial.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
  """Creates a folder; a bucket has none."""
  if not in_bucket(folder):
    folder.mkdir(parents=True, exist_ok=True)


def remove_folder(folder: Path) -> None:
  """Removes a folder as far as that is possible."""
  if in_bucket(folder):
    with contextlib.suppress(OSError):
      bucket.remove_folder(folder)
  else:
    shutil.rmtree(folder, ignore_errors=True)


def move_folder(folder: Path, target: Path) -> None:
  """Moves a folder; where folders cannot be renamed, it is copied and then removed."""
  if in_bucket(folder):
    bucket.move_folder(folder, target)
  else:
    target.parent.mkdir(exist_ok=True)
    shutil.move(folder, target)
