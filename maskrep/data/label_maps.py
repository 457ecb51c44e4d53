"""Label maps: the class of each pixel, and the mapping from the values that a data set stores to classes."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

NONE = 255  # a pixel of no class
UNKNOWN = 254  # a value that no map should hold
FEATURES = 'label_map', 'annotation', 'segmentation_mask', 'segmentation_label'  # names of label maps in tfds


class MapValues(NamedTuple):
  """The values of classes 0, 1, 2 ..., and those of no class, which always include 255."""

  classes: Iterable[int]
  ignored: Iterable[int] = ()


# Data sets whose tfds features do not define the values. scene_parse150 is not here: tfds prepares the maps of the
# instance benchmark, with three channels, instead of those of the 150 classes; see `sources.scene_folders`.
TFDS = {
  'oxford_iiit_pet': MapValues((1, 2, 3)),  # pet, background, border
  # The 19 classes that the benchmark evaluates, of 34.
  'cityscapes': MapValues((7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33), range(34)),
}


def lookup(values: MapValues) -> np.ndarray:
  """uint8 [256]: value -> class, `NONE` or `UNKNOWN`."""
  table = np.full(256, UNKNOWN, np.uint8)
  table[[*values.ignored, NONE]] = NONE
  classes = list(values.classes)
  table[classes] = range(len(classes))
  return table


def count(table: np.ndarray | None) -> int:
  """The number of classes in a table of `lookup`; 0 if it is None."""
  return 0 if table is None else int((table < UNKNOWN).sum())


def of_tfds(name: str, features: Mapping) -> tuple[str | None, np.ndarray | None]:
  """The feature of a tfds data set that is a label map, and its `lookup`; None, None if its values are unknown."""
  feature = next((key for key in FEATURES if key in features), None)
  if feature and name in TFDS:
    return feature, lookup(TFDS[name])
  classes = getattr(features[feature], 'num_classes', None) if feature else None  # as in a LabeledImage
  if classes and getattr(features[feature], 'encoding_format', None) and classes <= UNKNOWN:
    return feature, lookup(MapValues(range(classes)))
  return None, None
