"""A folder of images."""

import collections
from collections.abc import Iterator
import errno
import hashlib
import logging
import os
import stat

from maskrep.data.decode import BrokenImage, decode
from maskrep.data.limits import MAX_BYTES
from maskrep.data.sources.source import Example
from maskrep.errors import ConfigError

SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp', '.gif', '.bmp', '.tif', '.tiff', '.ppm', '.pgm')

log = logging.getLogger(__name__)


class Folder:
  """A folder of images: flat, without labels, or one sub-folder per class, searched to any depth.

  Split S is the sub-folder S; without one, the folder itself is 'train'. Classes are the sorted names of the
  sub-folders, those of the split 'train' if there is one, so that a class has the same label in each split.
  Hidden files and files without the suffix of an image are ignored. Pipes, sockets, devices and links to nothing that
  have such a suffix are never opened; a warning counts them.

  Raises:
    ConfigError: no such folder or split, no image in it that can be read, or a class that 'train' does not have.
  """

  map_classes = 0

  def __init__(self, path: str, split: str):
    field = f'config.data.source=folder:{path}'
    if not os.path.isdir(path):
      raise ConfigError(f'{field}: is not a folder; give the path of a folder of images')
    self._root = os.path.join(path, split)
    if not os.path.isdir(self._root):
      if split != 'train':
        raise ConfigError(f'{field}: has no sub-folder {split!r} for that split; make one, or take another split')
      self._root = path
    files = listed(field, self._root)
    self._names = [name for name, _ in files]
    self._labels = [-1] * len(files)
    self.num_classes = 0
    if all(os.sep in name for name in self._names):
      classes = _subfolders(os.path.join(path, 'train')) or _subfolders(self._root)
      labels = {name: label for label, name in enumerate(classes)}
      for i, name in enumerate(self._names):
        if (folder := name.split(os.sep)[0]) not in labels:
          raise ConfigError(f"{field}: {name} of split {split!r} is of a class that 'train' lacks; add it there")
        self._labels[i] = labels[folder]
      self.num_classes = len(classes)
    if not any(map(self._can_be_read, range(0, len(files), -(-len(files) // 16)))):
      raise ConfigError(f'{field}: has no image that can be read in {self._root}, as {files[0][0]}; check the files')
    listing = hashlib.sha256(repr(files).encode()).hexdigest()
    self.fingerprint = f'folder:{split}:{len(files)}:{listing[:16]}'

  def __len__(self) -> int:
    return len(self._names)

  def __getitem__(self, index: int) -> Example:
    name = self.name(index)
    return Example(read_image(name), self._labels[index], name)

  def name(self, index: int) -> str:
    return os.path.join(self._root, self._names[index])

  def _can_be_read(self, index: int) -> bool:
    try:
      decode(self[index].image, canvas=32)
    except (BrokenImage, OSError):
      return False
    return True


def listed(field: str, root: str) -> list[tuple[str, int]]:
  """(path below `root`, size in bytes) of each image in a folder, sorted, to any depth; see `Folder`.

  Args:
    field: names the folder in errors.

  Raises:
    ConfigError: there is none, or the folder cannot be searched.
  """
  others = collections.Counter()
  try:
    files = list(_images(root, '', others))
  except OSError as error:
    raise ConfigError(f'{field}: cannot be searched: {error}; repair it') from error
  if others:
    log.warning('%s: %d entries named as images are no files and are left out: %s', field, others.total(),
                ', '.join(f'{kind} ({count})' for kind, count in sorted(others.items())))
  if not files:
    raise ConfigError(f'{field}: has no image in {root}; looked for {" ".join(SUFFIXES)}')
  return files


def read_image(path: str) -> bytes:
  """The bytes of a file, or enough of them for the decoder to refuse it."""
  with open(path, 'rb') as file:
    # read(n) allocates n bytes.
    return file.read(min(os.fstat(file.fileno()).st_size, MAX_BYTES + 1))


def _images(root: str, folder: str, others: collections.Counter) -> Iterator[tuple[str, int]]:
  """Yields (path below root, size in bytes) of each image, in sorted order; counts what is no file by its kind."""
  for entry in sorted(os.scandir(os.path.join(root, folder)), key=lambda entry: entry.name):
    path = os.path.join(folder, entry.name)
    if entry.name.startswith('.'):
      continue
    named = entry.name.lower().endswith(SUFFIXES)
    if named and (kind := _other_kind(entry)):
      others[kind] += 1
    elif entry.is_dir():
      yield from _images(root, path, others)
    elif named:
      yield path, entry.stat().st_size


def _other_kind(entry: os.DirEntry) -> str | None:
  """Returns the kind of an entry that is neither a file nor a folder, nor a link to one; None for all others."""
  try:
    mode = entry.stat().st_mode
  except OSError as error:
    if error.errno in (errno.ENOENT, errno.ELOOP):
      return 'link to nothing'
    raise
  if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
    return None
  return 'pipe' if stat.S_ISFIFO(mode) else 'socket' if stat.S_ISSOCK(mode) else 'device'


def _subfolders(folder: str) -> list[str]:
  if not os.path.isdir(folder):
    return []
  return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith('.'))
