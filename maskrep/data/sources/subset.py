"""Some examples of a source."""

import dataclasses
import hashlib

import numpy as np

from maskrep.data.sources.source import DataSet, Example, Source


@dataclasses.dataclass(frozen=True)
class Subset:
  """Some examples of a source, by index."""

  source: Source
  indices: np.ndarray

  @property
  def num_classes(self) -> int:
    return self.source.num_classes

  @property
  def map_classes(self) -> int:
    return self.source.map_classes

  @property
  def map_lookup(self) -> np.ndarray | None:
    return self.source.map_lookup

  @property
  def fingerprint(self) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(self.indices, '<i8').data).hexdigest()[:16]
    return f'{len(self)} ({digest}) of {self.source.fingerprint}'

  def __len__(self) -> int:
    return len(self.indices)

  def __getitem__(self, index: int) -> Example:
    return self.source[int(self.indices[index])]

  def name(self, index: int) -> str:
    return self.source.name(int(self.indices[index]))


@dataclasses.dataclass(frozen=True)
class ListedSubset(Subset):
  """The examples of a data set that a list names; their classes are those of the whole."""

  source: DataSet

  @property
  def summary(self) -> str:
    return f'{len(self)} by a list, of {self.source.summary}'

  @property
  def class_names(self) -> tuple[str, ...] | None:
    return self.source.class_names

  @property
  def labels(self) -> np.ndarray | None:
    return None if self.source.labels is None else self.source.labels[self.indices]

  @property
  def side(self) -> int | None:
    return self.source.side
