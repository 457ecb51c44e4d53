"""Sources whose pictures have label maps: scenes of handwritten digits, and ADE20K as its authors distribute it."""

import os
from pathlib import Path

import numpy as np

from maskrep.data.label_maps import MapValues, lookup
from maskrep.data.sources.digits import Digits
from maskrep.data.sources.folder import Folder
from maskrep.data.sources.source import Example
from maskrep.errors import ConfigError

STROKE = 128  # from this grey level on a pixel belongs to a digit


class DigitScenes:
  """Scenes of 32 x 32 pixels with one to four of the `Digits` of the same split, each enlarged twice or not at all.

  Digits may overlap: the picture shows the brighter grey, and where strokes overlap the later one counts. The map holds
  the digit to whose stroke a pixel belongs, 0 to 9, or 10 for the background. A scene depends only on its number: it is
  drawn by NumPy's RandomState, whose stream is frozen.
  """

  num_classes, map_classes, side = 0, 11, 32
  class_names, labels = None, None
  map_lookup = lookup(MapValues(range(11)))
  splits = {'train': range(1000), 'test': range(1000, 1200)}  # numbers of the scenes

  def __init__(self, split: str):
    if split not in self.splits:
      raise ConfigError(f"config.data.source=digit_scenes: has no split {split!r}; there are: {', '.join(self.splits)}")
    self._digits, self._numbers = Digits(split), self.splits[split]
    self.fingerprint = f'digit_scenes:{split}:{len(self)}'
    self.summary = f'{len(self)} images with label maps of {self.map_classes} classes'

  def __len__(self) -> int:
    return len(self._numbers)

  def name(self, index: int) -> str:
    return f'scene {self._numbers[index]}'

  def __getitem__(self, index: int) -> Example:
    number = self._numbers[index]
    draw = np.random.RandomState(number)
    image = np.zeros((self.side, self.side), np.uint8)
    label_map = np.full((self.side, self.side), 10, np.uint8)
    for _ in range(draw.randint(1, 5)):
      digit, factor = self._digits[draw.randint(len(self._digits))], draw.randint(1, 3)
      pixels = np.asarray(digit.image).repeat(factor, axis=0).repeat(factor, axis=1)
      top, left = draw.randint(self.side - len(pixels) + 1, size=2)
      place = np.s_[top:top + len(pixels), left:left + len(pixels)]
      image[place] = np.maximum(image[place], pixels)
      label_map[place] = np.where(pixels >= STROKE, digit.label, label_map[place])
    return Example(image, -1, self.name(index), label_map)


class ADE20K:
  """ADE20K's scene parsing benchmark, the unpacked ADEChallengeData2016: 150 classes, stored as 1 to 150, 0 is none.

  Zhou et al. 2017, arXiv:1608.05442. Pictures are images/SPLIT/NAME.jpg, maps annotations/SPLIT/NAME.png, and the
  splits 'training' (20 210 pictures) and 'validation' (2000).

  Raises:
    ConfigError: no such folder or split, or no readable picture in it.
  """

  num_classes, map_classes = 0, 150
  class_names, labels = None, None
  map_lookup = lookup(MapValues(range(1, 151), (0,)))

  def __init__(self, path: str, split: str):
    self._maps = os.path.join(path, 'annotations', split)
    if not os.path.isdir(self._maps):
      raise ConfigError(f'config.data.source=ade20k:{path}: has no folder {self._maps}; give the folder that '
                        'ADEChallengeData2016.zip unpacks to, and one of its splits, training and validation')
    self._pictures = Folder(os.path.join(path, 'images'), split)
    self.fingerprint = f'ade20k:{self._pictures.fingerprint}:{Folder(os.path.dirname(self._maps), split).fingerprint}'
    self.summary = f'{len(self)} images with label maps of {self.map_classes} classes'
    self.side = self._pictures.side

  def __len__(self) -> int:
    return len(self._pictures)

  def name(self, index: int) -> str:
    return self._pictures.name(index)

  def __getitem__(self, index: int) -> Example:
    picture = self._pictures[index]
    label_map = os.path.join(self._maps, os.path.splitext(os.path.basename(picture.name))[0] + '.png')
    return picture._replace(label=-1, label_map=Path(label_map).read_bytes())
