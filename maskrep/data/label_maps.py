"""What the label maps of a data set store: the class of each pixel, in its own numbers."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

NONE = 255  # a pixel of no class
UNKNOWN = 254  # a value that the maps should not hold
FEATURES = 'label_map', 'annotation', 'segmentation_mask', 'segmentation_label'  # as tfds's data sets call theirs


class Stored(NamedTuple):
  """The values that stand for class 0, 1, 2 ..., and those that stand for no class, as 255 always does."""

  classes: Iterable[int]
  ignored: Iterable[int] = ()


# Data sets of tfds whose features do not tell. scene_parse150 is not here: what tfds prepares are the maps of the
# instance benchmark, of three channels, and not those of the 150 classes; see `scenes.ADE20K`.
TFDS = {
  'oxford_iiit_pet': Stored((1, 2, 3)),  # pet, background, border
  # The 19 classes that the benchmark judges, of 34.
  'cityscapes': Stored((7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33), range(34)),
}


def lookup(stored: Stored) -> np.ndarray:
  """uint8 [256]: value -> class, `NONE` or `UNKNOWN`."""
  table = np.full(256, UNKNOWN, np.uint8)
  table[[*stored.ignored, NONE]] = NONE
  classes = list(stored.classes)
  table[classes] = range(len(classes))
  return table


def count(table: np.ndarray | None) -> int:
  """How many classes a table knows."""
  return 0 if table is None else int((table < UNKNOWN).sum())


def of_tfds(name: str, features: Mapping) -> tuple[str | None, np.ndarray | None]:
  """The feature of a tfds data set that is a label map, and what its values mean; None where that is not known."""
  feature = next((key for key in FEATURES if key in features), None)
  if feature and name in TFDS:
    return feature, lookup(TFDS[name])
  classes = getattr(features[feature], 'num_classes', None) if feature else None  # a LabeledImage has it
  if classes and getattr(features[feature], 'encoding_format', None) and classes <= UNKNOWN:
    return feature, lookup(Stored(range(classes)))
  return None, None
