"""Benchmarks of semantic segmentation, from their folders as they are published: pictures with a label map each.

- `ade20k:PATH`, the unpacked ADEChallengeData2016.zip: images/SPLIT/NAME.jpg and annotations/SPLIT/NAME.png. 150
  classes, stored as 1 to 150; 0 is none. Splits: training (20 210), validation (2000). Zhou et al. 2017,
  arXiv:1608.05442.
- `pascal_voc:PATH`, the folder in which VOCtrainval_11-May-2012.tar (VOCdevkit/VOC2012) and, for the split trainaug,
  SBD's benchmark.tgz (benchmark_RELEASE) were unpacked. 21 classes, stored as 0, the background, to 20; 255, the border
  of an object, is none. Splits: train (1464), val (1449), trainval; and trainaug (10 582), the pictures of train and of
  both lists of SBD that are not in val, with the maps of VOC where it has them (Hariharan et al. 2011).
- `pascal_context:PATH`, a VOCdevkit/VOC2010 with the maps that mmsegmentation makes of the published annotations:
  JPEGImages/NAME.jpg, SegmentationClassContext/NAME.png and ImageSets/SegmentationContext/SPLIT.txt. 60 classes, stored
  as 0, the background, to 59; in `pascal_context_59:PATH` the background is no class. Splits: train (4998), val (5105).
  Mottaghi et al. 2014.
- `cityscapes:PATH`, the folder in which leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip were unpacked:
  leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and gtFine/SPLIT/CITY/*_gtFine_labelIds.png. 19 classes of the 34 that are
  stored. Splits: train (2975), val (500). Cordts et al. 2016, arXiv:1604.01685.
"""

from collections.abc import Callable, Iterable, Sequence
import hashlib
import io
import os
from typing import NamedTuple

import numpy as np

from maskrep.data.label_maps import TFDS, MapValues, count, lookup
from maskrep.data.sources.folder import listed, look, read_image
from maskrep.data.sources.source import Example
from maskrep.errors import ConfigError

Pair = tuple[str, str]  # of a picture and its map: paths below the folder
VOC, SBD = os.path.join('VOCdevkit', 'VOC2012'), os.path.join('benchmark_RELEASE', 'dataset')


class Benchmark(NamedTuple):
  """How a benchmark is published.

  Attributes:
    values: the values of its maps.
    find: (field, path, split) -> the pairs of a split; `field` names the folder in errors.
  """

  values: MapValues
  find: Callable[[str, str, str], Iterable[Pair]]


class SceneFolder:
  """A split of one of the `BENCHMARKS`.

  Raises:
    ConfigError: no such folder or split, a picture without a map, or no picture that can be read.
  """

  num_classes, class_names, labels = 0, None, None

  def __init__(self, kind: str, path: str, split: str):
    field, benchmark = f'config.data.source={kind}:{path}', BENCHMARKS[kind]
    if not os.path.isdir(path):
      raise ConfigError(f'{field}: is not a folder; give the folder that {kind} was unpacked to')
    self._path, self._pairs = path, sorted(benchmark.find(field, path, split))
    if not self._pairs:
      raise ConfigError(f'{field}: split {split!r} has no picture; choose another split, or unpack its archives again')
    self.map_lookup = lookup(benchmark.values)
    self.map_classes = count(self.map_lookup)
    self.side = look(field, path, [picture for picture, _ in self._pairs]).side
    listing = hashlib.sha256(repr([(*pair, *_sizes(field, path, pair)) for pair in self._pairs]).encode()).hexdigest()
    self.fingerprint = f'{kind}:{split}:{len(self)}:{listing[:16]}'
    self.summary = f'{len(self)} images with label maps of {self.map_classes} classes'

  def __len__(self) -> int:
    return len(self._pairs)

  def name(self, index: int) -> str:
    return os.path.join(self._path, self._pairs[index][0])

  def __getitem__(self, index: int) -> Example:
    label_map = read_image(os.path.join(self._path, self._pairs[index][1]))
    if self._pairs[index][1].endswith('.mat'):
      label_map = _classes_of_sbd(label_map)
    return Example(read_image(self.name(index)), -1, self.name(index), label_map)


def _sizes(field: str, path: str, pair: Pair) -> list[int]:
  try:
    return [os.path.getsize(os.path.join(path, name)) for name in pair]
  except OSError as error:
    raise ConfigError(f'{field}: lacks {error.filename}; unpack the archives of the data set again') from error


def _beside(
  pictures: str, maps: str, picture_end: str, map_end: str
) -> Callable[[str, str, str], Iterable[Pair]]:
  """The pairs of folders pictures/SPLIT and maps/SPLIT, whose files differ in their ends."""

  def find(field: str, path: str, split: str) -> Iterable[Pair]:
    folder = os.path.join(path, pictures, split)
    if not os.path.isdir(folder):
      raise ConfigError(f'{field}: has no folder {folder}; give the folder that the archives were unpacked to, and one '
                        'of their splits')
    for name, _ in listed(field, folder)[0]:
      if name.endswith(picture_end):
        yield os.path.join(pictures, split, name), os.path.join(maps, split, name.removesuffix(picture_end) + map_end)

  return find


def _voc(field: str, path: str, split: str) -> Iterable[Pair]:
  lists = os.path.join(VOC, 'ImageSets', 'Segmentation')
  own = set(_list(field, path, lists, 'train' if split == 'trainaug' else split))
  pairs = [(_picture(VOC, name), os.path.join(VOC, 'SegmentationClass', f'{name}.png')) for name in own]
  if split == 'trainaug':
    others = {name for part in ('train', 'val') for name in _list(field, path, SBD, part)}
    others -= own | set(_list(field, path, lists, 'val'))
    pairs += [(_picture(VOC, name), os.path.join(SBD, 'cls', f'{name}.mat')) for name in others]
  return pairs


def _context(field: str, path: str, split: str) -> Iterable[Pair]:
  return [(_picture('', name), os.path.join('SegmentationClassContext', f'{name}.png'))
          for name in _list(field, path, os.path.join('ImageSets', 'SegmentationContext'), split)]


def _picture(root: str, name: str) -> str:
  return os.path.join(root, 'JPEGImages', f'{name}.jpg')


def _list(field: str, path: str, folder: str, split: str) -> Sequence[str]:
  file = os.path.join(path, folder, f'{split}.txt')
  try:
    with open(file, encoding='utf-8') as lines:
      return lines.read().split()
  except (OSError, UnicodeDecodeError) as error:
    raise ConfigError(f'{field}: its list {file} cannot be read ({error}); choose a split that it has, or unpack its '
                      'archives again') from error


def _classes_of_sbd(content: bytes) -> np.ndarray:
  """The classes that a MATLAB file of SBD holds, uint8 [H, W].

  Raises:
    OSError: it is no such file.
  """
  from scipy import io as scipy_io  # half a second, for one data set

  try:
    truth = scipy_io.loadmat(io.BytesIO(content), variable_names=['GTcls'], squeeze_me=True, struct_as_record=False)
    return np.asarray(truth['GTcls'].Segmentation, np.uint8)
  except Exception as error:  # of any class, from a damaged file
    raise OSError(f'its label map: {type(error).__name__}: {error}') from error


BENCHMARKS = {
  'ade20k': Benchmark(MapValues(range(1, 151), (0,)), _beside('images', 'annotations', '.jpg', '.png')),
  'pascal_voc': Benchmark(MapValues(range(21)), _voc),
  'pascal_context': Benchmark(MapValues(range(60)), _context),
  'pascal_context_59': Benchmark(MapValues(range(1, 60), (0,)), _context),
  'cityscapes': Benchmark(
    TFDS['cityscapes'], _beside('leftImg8bit', 'gtFine', '_leftImg8bit.png', '_gtFine_labelIds.png')),
}
