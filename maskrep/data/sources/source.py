"""The protocol of a source: a random-access sequence of examples, safe to read from many threads."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

SHOWN = 10  # classes that are counted one by one


class Example(NamedTuple):
  image: bytes | np.ndarray  # an encoded file, or uint8 pixels [H, W], [H, W, C]
  label: int  # -1 for none
  name: str  # by which a person finds it
  label_map: bytes | np.ndarray | None = None  # an encoded file of one channel, or uint8 [H, W]
  bits: int = 8  # in use of a grey image with 16, at least: see `decode`


class Source(Protocol):
  """A sequence of examples. Reading one raises OSError if its bytes cannot be read.

  A source with label maps also has `map_lookup`, see `label_maps.lookup`.
  """

  num_classes: int  # 0 without labels
  map_classes: int  # classes of the label maps, 0 without maps
  fingerprint: str  # identifies the data, wherever they lie

  def __len__(self) -> int: ...

  def __getitem__(self, index: int) -> Example: ...

  def name(self, index: int) -> str: ...


class DataSet(Source, Protocol):
  """A source that a config names, see `datasets.open_source`."""

  summary: str  # what it holds, in a line for a person
  class_names: tuple[str, ...] | None  # in the order of their labels; None without labels, or if they have no names
  side: int | None  # the longest side in pixels of its images, of a folder of some of them; None if it is not known


def count_classes(names: Sequence[str], labels: Sequence[int]) -> str:
  """The number of labels of each class, in words; of more than `SHOWN` classes the least, the median and the most."""
  counts = np.bincount([label for label in labels if label >= 0], minlength=len(names))
  kinds = f'{len(names)} class{"es" * (len(names) > 1)}'
  if len(names) > SHOWN:
    return f'{kinds} of {counts.min()} to {counts.max()} images, median {np.median(counts):g}'
  return f'{kinds}: ' + ', '.join(f'{name} {count}' for name, count in zip(names, counts, strict=True))
