"""The tasks to which encoders are transferred: data sets of tfds, with the splits and labels of each.

The tasks `vtab_...` are VTAB-1k, Zhai et al. 2019, arXiv:1910.04867: 1000 training examples, namely 800 of the training
split and 200 of the validation split, and the complete test split. If a data set lacks these splits they are cut from
the existing ones, in the shares of the authors' code (google-research/task_adaptation). clevr's test split is tfds's
validation split, because the labels of its own are not public. Splits and labels were compared with that code, as it
was last published. It was not verified that tfds still keeps its records in the order of 2019, which is needed for the
first 800 to be the same images.
"""

from collections.abc import Mapping
import dataclasses
import difflib

import numpy as np

from maskrep.data.sources.tfds import TFDS, Rule
from maskrep.errors import ConfigError

# Upper ends of all bins but the last.
CLEVR_BINS = (8.0, 8.5, 9.0, 9.5, 10.0)  # of the depth in pixel_coords
KITTI_BINS = (8.0, 20.0, 999.0)  # metres; beyond them there is no vehicle
NO_VEHICLE = 1000.0
VEHICLES = 3  # the first types of objects in KITTI: car, van, truck
DSPRITES_BINS = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
  """A data set, its splits and its labels.

  Attributes:
    dataset: its name in tfds.
    splits: 'train' and 'test' -> their names in tfds; of a task of VTAB also 'train800' and 'val200', the two parts of
      'train'.
    rule: how a record is labelled; None to use its only label.
    whole: whether the complete image, squashed to a square, replaces its centre: as in VTAB, and for square images.
  """

  dataset: str
  splits: Mapping[str, str]
  rule: Rule | None = None
  whole: bool = False


def _in_bins(value: float, bins: tuple[float, ...]) -> int:
  """The bin of a value; a value equal to an end belongs to the bin below it."""
  return int(np.searchsorted(bins, value, side='left'))


def _first(labels) -> int:
  return labels[0]


def _count(sizes) -> int:
  return len(sizes) - 3  # from 3 objects to 10


def _closest_object(coordinates) -> int:
  """The bin of the smallest depth, which is the third coordinate of each object."""
  return _in_bins(np.reshape(coordinates, (-1, 3))[:, 2].min(), CLEVR_BINS)


def _closest_vehicle(types, locations) -> int:
  distances = np.reshape(locations, (-1, 3))[np.asarray(types, int) < VEHICLES, 2]
  return _in_bins(distances.min(initial=NO_VEHICLE), KITTI_BINS)


def _latent(classes: int):
  """Returns a function from one of `classes` values to one of 16 bins."""
  return lambda values: values[0] * DSPRITES_BINS // classes


def _labels(feature: str, num_classes: int) -> Rule:
  return Rule(feature, (feature,), _first, num_classes)


def _sprites(feature: str, classes: int) -> Rule:
  # Its pixels are 0 and 1.
  return Rule(f'{feature} in {DSPRITES_BINS} bins', (feature,), _latent(classes), DSPRITES_BINS, pixel_scale=255)


def _thousand(train: str, test: str, validation: str = 'validation', start: int = 0) -> dict[str, str]:
  """VTAB's 800 examples of the training split, and 200 from `start` of the validation split."""
  parts = {'train800': f'{train}[:800]', 'val200': f'{validation}[{start}:{start + 200}]'}
  return {'train': '+'.join(parts.values()), 'test': test} | parts


def _vtab(dataset: str, splits: dict[str, str], rule: Rule | None = None) -> Task:
  return Task(dataset=dataset, splits=splits, rule=rule, whole=True)


TRAIN_AND_TEST = {'train': 'train', 'test': 'test'}
TRAIN_AND_VALIDATION = {'train': 'train', 'test': 'validation'}  # the labels of the test split are not public
DSPRITES = _thousand('train', 'train[663552:]', 'train', 589824)  # 80, 10 and 10 % of 737280
SMALLNORB = _thousand('train', 'test[12150:]', 'test')  # validation is the first half of test, of 24300
CLEVR = _thousand('train', 'validation', 'train', 63000)  # 90 % of 70000

VTAB_NATURAL = {
  'vtab_caltech101': _vtab('caltech101', _thousand('train', 'test', 'train', 2754)),  # 90 % of 3060
  'vtab_cifar100': _vtab('cifar100', _thousand('train', 'test', 'train', 45000)),  # 90 % of 50000
  'vtab_dtd': _vtab('dtd', _thousand('train', 'test')),
  'vtab_flowers102': _vtab('oxford_flowers102', _thousand('train', 'test')),
  'vtab_pets': _vtab('oxford_iiit_pet', _thousand('train', 'test', 'train', 2944)),  # 80 % of 3680
  'vtab_svhn': _vtab('svhn_cropped', _thousand('train', 'test', 'train', 65931)),  # 90 % of 73257
  'vtab_sun397': _vtab('sun397/tfds', _thousand('train', 'test')),
}
VTAB_SPECIALIZED = {
  'vtab_patch_camelyon': _vtab('patch_camelyon', _thousand('train', 'test')),
  'vtab_eurosat': _vtab('eurosat/rgb', _thousand('train', 'train[21600:]', 'train', 16200)),  # 60, 20, 20 % of 27000
  'vtab_resisc45': _vtab('resisc45', _thousand('train', 'train[25200:]', 'train', 18900)),  # 60, 20, 20 % of 31500
  'vtab_retinopathy': _vtab('diabetic_retinopathy_detection/btgraham-300', _thousand('train', 'test')),
}
VTAB_STRUCTURED = {
  'vtab_clevr_count': _vtab('clevr', CLEVR, Rule('number of objects', ('objects/size',), _count, 8)),
  'vtab_clevr_distance': _vtab('clevr', CLEVR, Rule(
    'closest object', ('objects/pixel_coords',), _closest_object, len(CLEVR_BINS) + 1)),
  'vtab_dmlab': _vtab('dmlab', _thousand('train', 'test')),
  'vtab_kitti': _vtab('kitti', _thousand('train', 'test'), Rule(
    'closest vehicle', ('objects/type', 'objects/location'), _closest_vehicle, len(KITTI_BINS) + 1)),
  'vtab_dsprites_location': _vtab('dsprites', DSPRITES, _sprites('label_x_position', 32)),
  'vtab_dsprites_orientation': _vtab('dsprites', DSPRITES, _sprites('label_orientation', 40)),
  'vtab_smallnorb_azimuth': _vtab('smallnorb', SMALLNORB, _labels('label_azimuth', 18)),
  'vtab_smallnorb_elevation': _vtab('smallnorb', SMALLNORB, _labels('label_elevation', 9)),
}
VTAB = VTAB_NATURAL | VTAB_SPECIALIZED | VTAB_STRUCTURED
TASKS = {
  'cifar10': Task(dataset='cifar10', splits=TRAIN_AND_TEST),
  'cifar100': Task(dataset='cifar100', splits=TRAIN_AND_TEST),
  'inaturalist2018': Task(dataset='i_naturalist2018', splits=TRAIN_AND_VALIDATION),
  'places365': Task(dataset='places365_small', splits=TRAIN_AND_VALIDATION),
} | VTAB
GROUPS = {
  'vtab_natural': VTAB_NATURAL, 'vtab_specialized': VTAB_SPECIALIZED, 'vtab_structured': VTAB_STRUCTURED, 'vtab': VTAB}


def open_task(name: str, split: str, *, download: bool) -> TFDS:
  """Opens a split of a task, see `Task.splits`.

  Raises:
    ConfigError: there is no such task or split, or its data set is not prepared.
    DataError: the data set is incomplete.
  """
  field = f'config.data.source=task:{name}'
  if name not in TASKS:
    near = difflib.get_close_matches(name, TASKS, n=3, cutoff=0.5)
    raise ConfigError(f'{field}: is no task; nearest names: {", ".join(near) or "none"}')
  task = TASKS[name]
  if split not in task.splits:
    raise ConfigError(f'{field}: has no split {split!r}; there are: {", ".join(task.splits)}')
  return TFDS(task.dataset, task.splits[split], download=download, rule=task.rule)
