"""A folder of images."""

import collections
from collections.abc import Iterator
import errno
import hashlib
import logging
import os
import stat
from typing import NamedTuple

import numpy as np

from maskrep.data.decode import BrokenImage, Measured, decode, measure
from maskrep.data.limits import MAX_BYTES
from maskrep.data.sources.source import SHOWN, Example, count_classes
from maskrep.errors import ConfigError

SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp', '.gif', '.bmp', '.tif', '.tiff', '.ppm', '.pgm')
LOOKED_AT = 16  # images, when a folder is opened
CONSTANT = 16  # grey levels of 256: an image that spans fewer is nearly constant

log = logging.getLogger(__name__)


class Part(NamedTuple):
  """A share of a split's images, or the rest, chosen by a hash of each name alone: other images make no difference.

  Attributes:
    share: in (0, 1).
    held_out: whether it is the share itself, not the rest.
    title: the share as it was given.
  """

  share: float
  held_out: bool
  title: str

  def __contains__(self, name: str) -> bool:
    digest = hashlib.sha256(os.fsencode(name.replace(os.sep, '/'))).digest()
    return (int.from_bytes(digest[:8]) < self.share * 2**64) == self.held_out


class Folder:
  """A folder of images: flat, without labels, or one sub-folder per class, searched to any depth.

  Split S is the sub-folder S; if there is none, the folder itself is 'train'. Classes are the sorted names of the
  sub-folders, those of the split 'train' if there is one, so that a class has the same label in every split.
  Hidden files and files without an image suffix are ignored. Pipes, sockets, devices and broken links that have such a
  suffix are never opened; a warning counts them.

  Args:
    part: the part of the split's images to use; None for all.

  Raises:
    ConfigError: no such folder or split, no readable image in it, images both in and beside class folders, or a class
      that 'train' does not have.
  """

  map_classes, map_lookup = 0, None

  def __init__(self, path: str, split: str, part: Part | None = None):
    self._field = f'config.data.source=folder:{path}'
    if not os.path.isdir(path):
      raise ConfigError(f'{self._field}: is not a folder; give the path of a folder of images')
    self._root = os.path.join(path, split)
    if not os.path.isdir(self._root):
      if split != 'train':
        raise ConfigError(f'{self._field}: has no sub-folder {split!r} for that split; make one, or take another split')
      self._root = path
    files, passed_over = listed(self._field, self._root)
    labels = self._class_labels(path, split, [name for name, _ in files])
    if part:
      files = self._part(files, part)
    self._names = [name for name, _ in files]
    self.labels = np.array([labels[_top(name)] if labels else -1 for name in self._names])
    self.num_classes, self.class_names = len(labels), tuple(labels) or None
    self.side, bits = look(self._field, self._root, self._names)
    self._bits = bits or 8
    listing = hashlib.sha256(repr(files).encode()).hexdigest()
    self.fingerprint = f'folder:{split}:{len(files)}:{listing[:16]}' + (f':{bits} bits' if bits in range(8, 16) else '')
    self.summary = (f'{len(files)} image{"s" * (len(files) > 1)}, '
                    + (count_classes(tuple(labels), self.labels) if labels else 'without labels')
                    + (f'; passed over: {passed_over}' if passed_over else ''))

  def _class_labels(self, path: str, split: str, names: list[str]) -> dict[str, int]:
    """{class folder: label}, in the order of the labels; {} if there are no class folders."""
    beside = [name for name in names if os.sep not in name]
    if len(beside) == len(names):
      return {}
    if beside:
      raise ConfigError(
        f'{self._field}: {len(beside)} of the {len(names)} images in {self._root} lie beside its sub-folders, as '
        f'{beside[0]}, and would have no label; move them into one, or into a sub-folder of their own if there are '
        'no classes')
    folders = _subfolders(os.path.join(path, 'train')) or _subfolders(self._root)
    labels = {folder: label for label, folder in enumerate(folders)}
    for name in names:
      if _top(name) not in labels:
        raise ConfigError(f"{self._field}: {name} of split {split!r} is of a class that 'train' lacks; add it there")
    return labels

  def _part(self, files: list[tuple[str, int]], part: Part) -> list[tuple[str, int]]:
    kept = [(name, size) for name, size in files if name in part]
    if not kept or len(kept) == len(files):
      raise ConfigError(f'config.data.eval_split={part.title!r}: of {len(files)} images this leaves none for '
                        f'{"training" if part.held_out == bool(kept) else "evaluation"}; choose another share, or '
                        'sub-folders train and val')
    return kept

  def __len__(self) -> int:
    return len(self._names)

  def __getitem__(self, index: int) -> Example:
    name = self.name(index)
    return Example(read_image(name), int(self.labels[index]), name, bits=self._bits)

  def name(self, index: int) -> str:
    return os.path.join(self._root, self._names[index])


def open_folder(path: str, split: str, *, train: str, evaluation: str) -> Folder:
  """Opens one of the two splits of a run, or another.

  Args:
    train, evaluation: the splits of the run. If `evaluation` is a share, such as '10%', it consists of the images of
      the split `train` whose names have the lowest hashes, and `train` of the rest: adding an image moves no other.

  Raises:
    ConfigError: as in `Folder`; the share is invalid; or there is a sub-folder for `evaluation` and none for `train`,
      which would then be the complete folder.
  """
  field = f'config.data.eval_split={evaluation!r}'
  if not evaluation.endswith('%'):
    there = [os.path.isdir(os.path.join(path, name)) for name in (train, evaluation)]
    if evaluation and split == train and there == [False, True]:
      raise ConfigError(f'{field}: is a sub-folder of {path}, and {train!r} is none, so it would be the whole folder '
                        f'with {evaluation!r} in it; move the other images into a sub-folder {train!r}')
    return Folder(path, split)
  try:
    share = float(evaluation[:-1]) / 100
  except ValueError:
    share = 0
  if not 0 < share < 1:
    raise ConfigError(f"{field}: must be a share above 0% and below 100%, as '10%', or the name of a sub-folder")
  if split not in (train, evaluation):
    return Folder(path, split)
  return Folder(path, train, Part(share, split == evaluation, evaluation))


def listed(field: str, root: str) -> tuple[list[tuple[str, int]], str]:
  """(path below `root`, bytes) of each image in a folder, sorted, at any depth; and a count of the other entries.

  Args:
    field: names the folder in errors.

  Raises:
    ConfigError: there is no image, or the folder cannot be searched.
  """
  others = collections.Counter()  # (named as an image, kind)
  try:
    files = list(_images(root, '', others))
  except OSError as error:
    raise ConfigError(f'{field}: cannot be searched: {error}; repair it') from error
  if special := {kind: count for (named, kind), count in others.items() if named}:
    log.warning('%s: %d entries named as images are not files and are left out: %s', field, sum(special.values()),
                ', '.join(f'{kind} ({count})' for kind, count in sorted(special.items())))
  passed_over = ', '.join(f'{count} {kind}' for (_, kind), count in others.most_common(SHOWN))
  if not files:
    raise ConfigError(f'{field}: has no image in {root}; looked for {" ".join(SUFFIXES)}'
                      + (f', and found {passed_over}' if passed_over else ''))
  return files, passed_over


def look(field: str, root: str, names: list[str]) -> Measured:
  """Decodes some images of a folder; returns the longest side of all, and the most bits in use of 16-bit images.

  Args:
    field, root: as in `listed`.
    names: the images' paths below `root`.

  Raises:
    ConfigError: none of them can be read.
  """
  measured, dull = [], 0
  for index in range(0, len(names), -(-len(names) // LOOKED_AT)):
    try:
      image = read_image(os.path.join(root, names[index]))
      pixels = decode(image, canvas=32)
      measured.append(measure(image))
      dull += int(pixels.max()) - int(pixels.min()) < CONSTANT
    except (BrokenImage, OSError):
      continue  # the loader names and counts them
  if not measured:
    raise ConfigError(f'{field}: has no image that can be read in {root}, as {names[0]}; check the files')
  if dull > len(measured) / 2:
    log.warning('%s: %d of %d images that were looked at are nearly constant: fewer than %d grey levels of 256 lie '
                'between their darkest and brightest pixels; check how they were saved', field, dull, len(measured),
                CONSTANT)
  bits = max((each.bits for each in measured if each.bits), default=None)
  if bits:
    log.warning('%s: images of 16 bits in %s are read as if they had %d: the values of some that were looked at need '
                'no more; save them with 8 bits if that is wrong', field, root, bits)
  return Measured(max(each.side for each in measured), bits)


def read_image(path: str) -> bytes:
  """The bytes of a file, or enough of them that the decoder refuses it."""
  with open(path, 'rb') as file:
    # read(n) allocates n bytes.
    return file.read(min(os.fstat(file.fileno()).st_size, MAX_BYTES + 1))


def _top(name: str) -> str:
  return name.split(os.sep)[0]


def _images(root: str, folder: str, others: collections.Counter) -> Iterator[tuple[str, int]]:
  """Yields (path below root, size in bytes) of each image, in sorted order.

  Counts other entries in `others`: (True, kind) if named like an image but not a file, (False, suffix) otherwise.
  """
  for entry in sorted(os.scandir(os.path.join(root, folder)), key=lambda entry: entry.name):
    path = os.path.join(folder, entry.name)
    if entry.name.startswith('.'):
      others[False, 'hidden'] += 1
      continue
    named = entry.name.lower().endswith(SUFFIXES)
    if named and (kind := _other_kind(entry)):
      others[True, kind] += 1
    elif entry.is_dir():
      yield from _images(root, path, others)
    elif named:
      yield path, entry.stat().st_size
    else:
      others[False, os.path.splitext(entry.name)[1].lower() or 'without suffix'] += 1


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
