"""The tasks on which frozen features are evaluated: data sets of tfds, with the splits and labels of each.

The tasks `vtab_...` are VTAB-1k, Zhai et al. 2019, arXiv:1910.04867: 1000 training examples, namely 800 of the training
split and 200 of the validation split, and the complete test split. If a data set lacks these splits they are cut from
the existing ones, in the shares that reproduce the numbers of examples in the paper's table of data sets. clevr's test
split is tfds's validation split, because the labels of its own are not public. Labels are computed as in the authors'
code (google-research/task_adaptation). Both, and the pixels of dSprites, are written from memory of that code, without
comparison with it; nor was it verified that tfds still keeps its records in the order of 2019, which is needed for the
first 800 to be the same images.

The tasks `uned_...` are the domains of UnED, Ypsilantis et al. 2023, arXiv:2309.01858, that tfds has. Recall@1 is
computed within a domain here, with each image as the query among all the others; UnED's own figure searches all its
domains at once.
- uned_cars and uned_products are its test sets: CARS196's last 98 classes, Stanford Online Products's test split.
- uned_food and uned_inaturalist stand in for others: the validation splits of Food-101 (UnED: Food2K) and iNaturalist
  2018 (UnED: 2452 of its classes, by lists that tfds lacks), with all their classes.
- tfds lacks Food2K, In-Shop (DeepFashion), Met, Google Landmarks v2 and RP2K. Its iNaturalist 2021 cannot be opened:
  the package lacks the file of its labels.
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
FIRST_TEST_CAR = 98


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
  """A data set, its splits and its labels.

  Attributes:
    dataset: its name in tfds.
    splits: {'train', 'test'} of a classification task, {'queries', 'index'} of retrieval, -> their names in tfds. If
      queries and index are the same, an image is not its own neighbour.
    rule: how a record is labelled; None to use its only label. All examples of a classification task have a label.
    whole: whether the complete image, squashed to a square, replaces its centre: as in VTAB, and for square images.
  """

  dataset: str
  splits: Mapping[str, str]
  rule: Rule | None = None
  whole: bool = False

  @property
  def retrieval(self) -> bool:
    return 'queries' in self.splits

  @property
  def leaves_one_out(self) -> bool:
    return self.retrieval and self.splits['queries'] == self.splits['index']


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


def _last_cars(labels) -> int:
  return labels[0] - FIRST_TEST_CAR if labels[0] >= FIRST_TEST_CAR else -1


def _labels(feature: str, num_classes: int) -> Rule:
  return Rule(feature, (feature,), _first, num_classes)


def _sprites(feature: str, classes: int) -> Rule:
  # Its pixels are 0 and 1.
  return Rule(f'{feature} in {DSPRITES_BINS} bins', (feature,), _latent(classes), DSPRITES_BINS, pixel_scale=255)


def _thousand(train: str, test: str, validation: str = 'validation', start: int = 0) -> dict[str, str]:
  """VTAB's 800 examples of the training split, and 200 from `start` of the validation split."""
  return {'train': f'{train}[:800]+{validation}[{start}:{start + 200}]', 'test': test}


def _vtab(dataset: str, splits: dict[str, str], rule: Rule | None = None) -> Task:
  return Task(dataset=dataset, splits=splits, rule=rule, whole=True)


def _self(dataset: str, split: str, rule: Rule | None = None) -> Task:
  return Task(dataset=dataset, splits={'queries': split, 'index': split}, rule=rule)


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
UNED = {
  'uned_cars': _self('cars196', 'train+test', Rule('last 98 classes', ('label',), _last_cars, 196 - FIRST_TEST_CAR)),
  'uned_products': _self('stanford_online_products', 'test', _labels('class_id', 22634)),
  'uned_food': _self('food101', 'validation'),
  'uned_inaturalist': _self('i_naturalist2018', 'validation'),
}
TASKS = {
  'cifar10': Task(dataset='cifar10', splits=TRAIN_AND_TEST),
  'cifar100': Task(dataset='cifar100', splits=TRAIN_AND_TEST),
  'inaturalist2018': Task(dataset='i_naturalist2018', splits=TRAIN_AND_VALIDATION),
  'places365': Task(dataset='places365_small', splits=TRAIN_AND_VALIDATION),
} | VTAB | UNED
GROUPS = {
  'vtab_natural': VTAB_NATURAL, 'vtab_specialized': VTAB_SPECIALIZED, 'vtab_structured': VTAB_STRUCTURED, 'vtab': VTAB,
  'uned': UNED,
}


def open_task(name: str, split: str, *, download: bool) -> TFDS:
  """Opens a split of a task: 'train' or 'test', or of a retrieval task 'queries' or 'index'.

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
