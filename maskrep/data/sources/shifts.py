"""Data sets that test ImageNet-1k classifiers out of distribution, all from tfds, with the labels of ImageNet-1k.

ImageNet-A: Hendrycks et al. 2021, arXiv:1907.07174. ImageNet-R: Hendrycks et al. 2021, arXiv:2006.16241.
ImageNet-Sketch: Wang et al. 2019, arXiv:1905.13549. ImageNet-V2: Recht et al. 2019, arXiv:1902.10811. ImageNet-ReaL:
Beyer et al. 2020, arXiv:2006.07159. ImageNet-C: Hendrycks & Dietterich 2019, arXiv:1903.12261.

The builders of tfds label these by WordNet id, using the one list of imagenet2012, which is in order (ImageNet-V2 and
ReaL by the index in it), so no label is translated. The corrupted images are tfds's own, not the authors'.
"""

from collections.abc import Mapping
import dataclasses

from maskrep.data.sources.source import Example
from maskrep.data.sources.tfds import TFDS
from maskrep.errors import ConfigError

CLASSES = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shift:
  """A data set and how predictions for it are evaluated.

  Attributes:
    dataset, split: their names in tfds.
    subset: whether it has only some of the 1000 classes, to which predictions are then limited.
    several: whether an image has several right labels, or none, see `SeveralLabels`.
  """

  dataset: str
  split: str = 'test'
  subset: bool = False
  several: bool = False


SETS: Mapping[str, Shift] = {
  'imagenet_a': Shift(dataset='imagenet_a', subset=True),
  'imagenet_r': Shift(dataset='imagenet_r', subset=True),
  'imagenet_sketch': Shift(dataset='imagenet_sketch'),
  'imagenet_v2': Shift(dataset='imagenet_v2/matched-frequency'),
  'imagenet_v2/threshold-0.7': Shift(dataset='imagenet_v2/threshold-0.7'),
  'imagenet_v2/topimages': Shift(dataset='imagenet_v2/topimages'),
  'imagenet_real': Shift(dataset='imagenet2012_real', split='validation', several=True),
}
# The corruptions of ImageNet-C, and AlexNet's top-1 error for each, mean over the five severities.
ALEXNET_ERRORS: Mapping[str, float] = {
  'gaussian_noise': 0.886, 'shot_noise': 0.894, 'impulse_noise': 0.923, 'defocus_blur': 0.820, 'glass_blur': 0.826,
  'motion_blur': 0.786, 'zoom_blur': 0.798, 'snow': 0.867, 'frost': 0.827, 'fog': 0.819, 'brightness': 0.565,
  'contrast': 0.853, 'elastic_transform': 0.646, 'pixelate': 0.718, 'jpeg_compression': 0.607,
}
SEVERITIES = (1, 2, 3, 4, 5)


class SeveralLabels:
  """A source of images with any number of right labels, in which an example's label is its own index.

  Thus features can be matched with their images even if some images cannot be read; `right` returns the labels.
  """

  num_classes, map_classes, map_lookup = 0, 0, None  # the labels of its examples are no classes

  def __init__(self, source: TFDS):
    self._source = source
    self.fingerprint = f'{source.fingerprint}:index'

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> Example:
    return self._source[index]._replace(label=range(len(self))[index])

  def name(self, index: int) -> str:
    return self._source.name(index)

  def right(self, index: int) -> frozenset[int]:
    """The right labels of an image; there may be none."""
    return frozenset(self._source.values(int(index), 'real_label'))


def open_set(name: str, *, download: bool) -> TFDS | SeveralLabels:
  """Opens one of SETS.

  Raises:
    ConfigError: the data set is not prepared, or does not have the labels of ImageNet-1k.
    DataError: the data set is incomplete.
  """
  shift = SETS[name]
  source = _open(shift.dataset, shift.split, download)
  return SeveralLabels(source) if shift.several else source


def open_corruption(name: str, severity: int, *, download: bool) -> TFDS:
  """Opens ImageNet-C's images for one corruption and severity; errors as in `open_set`."""
  return _open(f'imagenet2012_corrupted/{name}_{severity}', 'validation', download)


def _open(dataset: str, split: str, download: bool) -> TFDS:
  source = TFDS(dataset, split, download=download)
  if source.num_classes != CLASSES:
    raise ConfigError(f'config.data.source=tfds:{dataset}: has {source.num_classes} classes, and ImageNet-1k has '
                      f'{CLASSES}; prepare what tfds calls so')
  return source
