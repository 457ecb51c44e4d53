"""The handwritten digits inside scikit-learn."""

from importlib import metadata

import numpy as np

from maskrep.data.sources.source import Example, count_classes
from maskrep.errors import ConfigError


class Digits:
  """The 1797 handwritten digits of 8 x 8 pixels that ship with scikit-learn, with values 0..16 scaled to 0..255.

  They have no official split. Here the members of each class are shuffled by NumPy's RandomState(0), whose stream is
  frozen, and the first 80 % of them are for training.
  """

  num_classes, map_classes, map_lookup, side = 10, 0, None, 8
  class_names = tuple('0123456789')

  def __init__(self, split: str):
    if split not in ('train', 'test'):
      raise ConfigError(f"config.data.source=digits: has no split {split!r}; there are: train, test")
    # The file that sklearn.datasets.load_digits reads; importing scikit-learn alone takes seconds of CPU time.
    file = metadata.distribution('scikit-learn').locate_file('sklearn/datasets/data/digits.csv.gz')
    table = np.loadtxt(str(file), delimiter=',')
    pixels, labels = table[:, :64], table[:, 64].astype(int)
    shuffled = np.random.RandomState(0).permutation(len(labels))
    members = [shuffled[labels[shuffled] == c] for c in range(self.num_classes)]
    cuts = [round(0.8 * len(m)) for m in members]
    parts = [m[:cut] if split == 'train' else m[cut:] for m, cut in zip(members, cuts, strict=True)]
    self._indices = np.sort(np.concatenate(parts))
    self._images = (pixels * (255 / 16)).round().astype(np.uint8).reshape(-1, 8, 8)
    self.labels = labels[self._indices]
    self.fingerprint = f'digits:{split}:{len(self)}'
    self.summary = f'{len(self)} images, {count_classes(self.class_names, self.labels)}'

  def __len__(self) -> int:
    return len(self._indices)

  def __getitem__(self, index: int) -> Example:
    i = self._indices[index]
    return Example(self._images[i], int(self.labels[index]), self.name(index))

  def name(self, index: int) -> str:
    return f'digit {self._indices[index]}'
