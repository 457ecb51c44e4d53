"""The protocol of a source: a random-access sequence of examples, safe to read from many threads."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from PIL.Image import Image

SHOWN = 10  # classes that are counted one by one


class Example(NamedTuple):
  image: bytes | np.ndarray | Image  # an encoded file, uint8 pixels [H, W] or [H, W, C], or a Pillow image
  label: int  # -1 for none
  name: str  # by which a person finds it
  label_map: bytes | np.ndarray | None = None  # an encoded file of one channel, or uint8 [H, W]
  bits: int = 8  # in use of a grey image with 16, at least: see `decode`


class Source(Protocol):
  """A sequence of examples. Reading one raises OSError if its bytes cannot be read.

  Attributes:
    num_classes: number of classes, 0 without labels.
    map_classes: classes of the label maps, 0 without maps.
    map_lookup: class of each value of the label maps, see `label_maps.lookup`; None without maps.
    fingerprint: identifies the data, independently of their location.
  """

  @property
  def num_classes(self) -> int: ...

  @property
  def map_classes(self) -> int: ...

  @property
  def map_lookup(self) -> np.ndarray | None: ...

  @property
  def fingerprint(self) -> str: ...

  def __len__(self) -> int: ...

  def __getitem__(self, index: int) -> Example: ...

  def name(self, index: int) -> str: ...


class DataSet(Source, Protocol):
  """A source that a config names, see `datasets.open_source`.

  Attributes:
    summary: its contents, in one line for a person.
    class_names: in the order of the labels; None without labels, or if the classes have no names.
    labels: int [N], -1 for none; None if they are known only when the images are read.
    side: the longest side of its images in pixels, for a folder that of some images; None if it is unknown.
  """

  @property
  def summary(self) -> str: ...

  @property
  def class_names(self) -> tuple[str, ...] | None: ...

  @property
  def labels(self) -> np.ndarray | None: ...

  @property
  def side(self) -> int | None: ...


def count_classes(names: Sequence[str], labels: Iterable[int]) -> str:
  """The number of images per class, in words; for more than `SHOWN` classes the minimum, median and maximum."""
  counts = np.bincount([label for label in labels if label >= 0], minlength=len(names))
  kinds = f'{len(names)} class{"es" * (len(names) > 1)}'
  if len(names) > SHOWN:
    return f'{kinds} of {counts.min()} to {counts.max()} images, median {np.median(counts):g}'
  return f'{kinds}: ' + ', '.join(f'{name} {count}' for name, count in zip(names, counts, strict=True))
