"""An evaluator without an encoder: features are the first pixel, which also encodes the predicted class."""

import dataclasses

import numpy as np

from maskrep.data.datasets import Data
from maskrep.data.decode import BrokenImage, decode
from maskrep.evaluation.encoders import Pixels
from maskrep.evaluation.features import Features

DATA = Data(source='', train_split='train', eval_split='test', download=False, canvas=16, threads=2,
            max_broken_fraction=0.0, stall_timeout_s=60)


def pixels(value: int, size: int = 6) -> np.ndarray:
  """An image whose pixels encode a number below 65536."""
  return np.full((size, size, 3), (value // 256, value % 256, 0), np.uint8)


@dataclasses.dataclass
class PixelEvaluator:
  """Features and logits from pixels; `calls` records (name of the method, fingerprint, whole)."""

  classes: int = 1000
  what: str = '--workdir=runs/pixels'
  data: Data = DATA
  encoder: Pixels = Pixels(size=16, canvas=16, as_trained=True)
  calls: list = dataclasses.field(default_factory=list)

  def features(self, source, ratio: float = 0.0, whole: bool = False) -> Features:
    self.calls.append(('features', source.fingerprint, whole))
    return self._read(source)

  def logits(self, source, whole: bool = False) -> Features:
    """The logit of the class in the pixels is the highest, those of the following classes come next."""
    self.calls.append(('logits', source.fingerprint, whole))
    rgb, labels = self._read(source)
    predicted = rgb[:, 0].astype(int) * 256 + rgb[:, 1].astype(int)
    return Features((-((np.arange(self.classes) - predicted[:, None]) % self.classes)).astype(np.float32), labels)

  def _read(self, source) -> Features:
    """First pixels, float32 [M, 3], and labels of the readable images."""
    rows, labels = [], []
    for image, label, *_ in source:
      try:
        rows.append(decode(image, canvas=16)[0, 0].astype(np.float32))
      except BrokenImage:
        continue
      labels.append(label)
    return Features(np.stack(rows), np.array(labels, np.int32))
