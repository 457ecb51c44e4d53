"""A caller's own images as a source: paths, Pillow images, arrays, files in memory, or a folder."""

from collections.abc import Iterable
import os
import threading
from typing import Any

import numpy as np
from PIL import Image

from maskrep.data.sources.folder import listed, look, read_image
from maskrep.data.sources.source import Example

Given = str | os.PathLike | bytes | np.ndarray | Image.Image


class GivenImages:
  """A source of images without labels, in the order given.

  Args:
    images: see `maskrep.Encoder.__call__`.

  Raises:
    ConfigError: a folder has no images, or cannot be searched.
    TypeError: anything else is given.
    ValueError: nothing is given.
  """

  num_classes, map_classes, map_lookup = 0, 0, None
  fingerprint = 'the images given'

  def __init__(self, images: Given | Iterable[Given]):
    path = os.fspath(images) if isinstance(images, str | os.PathLike) else ''
    folder, field = os.path.expanduser(path), repr(path)
    if os.path.isdir(folder):
      names = [name for name, _ in listed(field, folder)[0]]
      self._bits = look(field, folder, names).bits or 8
      images = [os.path.join(folder, name) for name in names]
    else:
      self._bits = 8
    self._items = [_checked(i, item) for i, item in enumerate(_as_list(images))]
    if not self._items:
      raise ValueError('images: there are none; give at least one')
    self._lock = threading.Lock()

  def __len__(self) -> int:
    return len(self._items)

  def __getitem__(self, index: int) -> Example:
    item = self._items[index]
    if isinstance(item, Image.Image):
      with self._lock:  # the same image may be given twice, and Pillow reads its file only now
        item.load()
    image = read_image(item) if isinstance(item, str) else item
    return Example(image, -1, self.name(index), bits=self._bits)

  def name(self, index: int) -> str:
    item = self._items[index]
    return item if isinstance(item, str) else f'image {index}'


def _as_list(images: Any) -> Iterable[Any]:
  if isinstance(images, str | os.PathLike):
    return [images]
  if isinstance(images, bytes | Image.Image) or 0 < getattr(images, 'ndim', 0) < 4:
    return [images]
  if not isinstance(images, Iterable):
    raise TypeError(f'images: is of type {type(images).__name__}; give a path, a Pillow image, uint8 pixels, or a list')
  return images


def _checked(index: int, item: Any) -> str | bytes | np.ndarray | Image.Image:
  if isinstance(item, str | os.PathLike):
    return os.path.expanduser(item)
  if isinstance(item, bytes | Image.Image):
    return item
  if not hasattr(item, '__array__'):
    raise TypeError(f'images: number {index} is of type {type(item).__name__}; give a path, a Pillow image, or uint8 '
                    'pixels [H, W, 3] or [H, W]')
  return np.asarray(item)
