"""Where pictures come from. Each source is a random-access sequence of `Example`, safe to read from many threads."""

from typing import NamedTuple, Protocol

import numpy as np


class Example(NamedTuple):
  image: bytes | np.ndarray  # an encoded file, or uint8 pixels [H, W], [H, W, C]
  label: int  # -1 where there is none
  name: str  # what a person needs to find it
  label_map: bytes | np.ndarray | None = None  # an encoded file of one channel, or uint8 [H, W]; where there are maps


class Source(Protocol):
  """A sequence of examples. Reading one raises OSError where its bytes cannot be had.

  One with label maps also has `map_lookup`, uint8 [256]: the class that each value of a map means, or
  `label_maps.NONE`.
  """

  num_classes: int  # 0 where there are no labels
  map_classes: int  # of the label maps, 0 where there are none
  fingerprint: str  # of the data: changes when they do, not when they are moved

  def __len__(self) -> int: ...

  def __getitem__(self, index: int) -> Example: ...

  def name(self, index: int) -> str: ...
