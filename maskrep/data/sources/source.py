"""The protocol of a source: a random-access sequence of examples, safe to read from many threads."""

from typing import NamedTuple, Protocol

import numpy as np


class Example(NamedTuple):
  image: bytes | np.ndarray  # an encoded file, or uint8 pixels [H, W], [H, W, C]
  label: int  # -1 for none
  name: str  # by which a person finds it
  label_map: bytes | np.ndarray | None = None  # an encoded file of one channel, or uint8 [H, W]


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
