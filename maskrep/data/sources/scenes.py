"""Scenes of handwritten digits, with label maps."""

import numpy as np

from maskrep.data.label_maps import MapValues, lookup
from maskrep.data.sources.digits import Digits
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
