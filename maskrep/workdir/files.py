"""Files that are written completely or not at all, and files with one JSON object per line."""

from collections.abc import Iterator
import contextlib
import json
import os
from pathlib import Path
from typing import BinaryIO

from maskrep.process import signals


def append_json(path: Path, record: dict) -> None:
  """Appends one complete line: a single write to a file opened for appending."""
  with open(path, 'a') as file:
    file.write(json.dumps(record) + '\n')


def read_json(path: Path) -> tuple[list[dict], list[int]]:
  """The objects of a file with one JSON object per line, and the numbers, from 1, of lines damaged by a kill."""
  records, damaged = [], []
  for number, line in enumerate(path.read_text(errors='replace').splitlines() if path.exists() else (), 1):
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
  partial = path.with_name(f'{path.name}.{os.getpid()}.partial')
  try:
    with open(partial, 'wb') as file, signals.last_act(lambda _: partial.unlink(missing_ok=True)):
      yield file
      file.flush()
      os.fsync(file.fileno())
    partial.replace(path)
  finally:
    partial.unlink(missing_ok=True)
