"""Parts of an embedding on disk, which remain if a process is killed. Each is written completely or not at all."""

from collections.abc import Iterator
import dataclasses
import hashlib
import json
from pathlib import Path
import shutil
from typing import Any, NamedTuple
import zipfile

import numpy as np

from maskrep.errors import CheckpointError
from maskrep.workdir.files import replacing


def as_utf8(name: str) -> str:
  """A name, which may be a file's, with bytes that are not UTF-8 replaced by hexadecimal digits."""
  return name.encode(errors='backslashreplace').decode()


class Part(NamedTuple):
  """M readable images, in the order of their source.

  Attributes:
    names: str [M].
    labels: int32 [M], -1 if there is none.
    vectors: float32 [M, D].
    broken: number of further images that cannot be read.
  """

  names: np.ndarray
  labels: np.ndarray
  vectors: np.ndarray
  broken: np.ndarray


@dataclasses.dataclass(frozen=True)
class Parts:
  """The parts of one embedding, beside its output: one file per `rows` records of the source.

  Attributes:
    folder: used by this embedding only, as its name has a digest of how the embedding is made.
    count: total number of parts.
  """

  folder: Path
  count: int

  @classmethod
  def of(cls, output: Path, made: dict[str, Any], count: int) -> 'Parts':
    key = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:12]
    return cls(output.with_name(f'{output.name}.parts-{key}'), count)

  def missing(self) -> list[int]:
    """The numbers of the parts that are not done."""
    return [number for number in range(self.count) if not self._path(number).exists()]

  def store(self, number: int, part: Part) -> None:
    self.folder.mkdir(parents=True, exist_ok=True)
    with replacing(self._path(number)) as file:
      np.savez(file, **part._asdict())

  def broken(self) -> int:
    """The number of images in the finished parts that cannot be read."""
    return sum(int(broken) for broken in self.read('broken'))

  def read(self, field: str) -> Iterator[np.ndarray]:
    """A field of each finished part, one part at a time.

    Raises:
      CheckpointError: a file is damaged.
    """
    for path in filter(Path.exists, map(self._path, range(self.count))):
      try:
        with np.load(path, allow_pickle=False) as arrays:
          found = arrays[field]
      except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f'{path}: is damaged ({error}); remove it, then run the same command') from error
      yield found

  def remove(self) -> None:
    shutil.rmtree(self.folder)

  def _path(self, number: int) -> Path:
    return self.folder / f'{number:06}.npz'
