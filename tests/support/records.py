"""A source whose pictures and labels are the numbers of its records, and a loader of it."""

import numpy as np

from maskrep.data.loader import Loader
from maskrep.data.sources.source import Example

READS = 'image', 'size', 'position', 'label'


class Numbers:
  """Record i is a picture of 1 x (1 + i % 3) pixels, its first pixel and its label saying i; some are broken."""

  num_classes = 0
  fingerprint = 'numbers'

  def __init__(self, length: int, broken=(), lost=()):
    self.length, self.broken, self.lost = length, set(broken), set(lost)

  def __len__(self):
    return self.length

  def __getitem__(self, index):
    if index in self.lost:
      raise OSError('lost')
    pixels = np.full((1, 1 + index % 3, 3), (index % 256, index // 256, 7), np.uint8)
    return Example(b'<html>' if index in self.broken else pixels, index, f'number {index}')


def loader(source, batch_size=4, **options) -> Loader:
  return Loader(source, **{'canvas': 3, 'seed': 0, 'threads': 2, 'max_broken_fraction': 1.0,
                           'stall_timeout_s': 60, 'reads': READS} | options,
                batch_size=batch_size)


def joined(parts):
  return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def labels(load, steps) -> list[int]:
  return np.concatenate([load[t]['label'] for t in range(steps)]).tolist()
