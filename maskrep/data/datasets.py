"""The section `data` of a config, and opening the data set that it names."""

import dataclasses
import os

from maskrep.data.lists import places, read_list
from maskrep.data.sources import tasks
from maskrep.data.sources.digits import Digits
from maskrep.data.sources.folder import open_folder
from maskrep.data.sources.scene_folders import BENCHMARKS, SceneFolder
from maskrep.data.sources.scenes import DigitScenes
from maskrep.data.sources.source import DataSet
from maskrep.data.sources.subset import ListedSubset
from maskrep.data.sources.tfds import TFDS
from maskrep.data.sources.uned import UnED
from maskrep.errors import ConfigError
from maskrep.schema import Count, Probability, check

CANVAS = 512  # pixels, of images that no config describes
# Fields of `Data` for these.
UNDESCRIBED = {
  'source': '', 'train_split': 'train', 'eval_split': '', 'download': False, 'canvas': CANVAS, 'threads': 16,
  'max_broken_fraction': 0.001, 'stall_timeout_s': 600}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
  """The images of a run, and how the host reads them.

  Attributes:
    source: the data set: digits, digit_scenes, tfds:NAME, folder:PATH, uned:PATH, task:NAME or, with label maps,
      ade20k:PATH, pascal_voc:PATH, pascal_context:PATH, pascal_context_59:PATH or cityscapes:PATH.
    train_split: the split to train on.
    eval_split: the split for evaluation; '' for none. For a folder, '10%' holds out a tenth of the images of
      `train_split`.
    download: whether tfds may download and prepare a missing data set.
    canvas: side in pixels of the uint8 canvas for a decoded image; larger images are reduced to fit.
    threads: host threads that read and decode.
    max_broken_fraction: largest share of images that may be unreadable; if it is exceeded the run ends.
    list: a file with one name of an image per line: of the training split these images alone are used; '' for all.
    stall_timeout_s: seconds without an image before the stacks of all threads are dumped; after twice as long the run
      ends.
  """

  source: str
  train_split: str
  eval_split: str
  download: bool
  canvas: Count
  threads: Count
  max_broken_fraction: Probability
  stall_timeout_s: Count
  list: str = ''

  __post_init__ = check


def open_source(data: Data, split: str) -> DataSet:
  """Opens a split of `data.source`, of the training split what `data.list` names.

  Raises:
    ConfigError: there is no such data set or split, it is not prepared, or the list names other images.
    DataError: the data set is incomplete.
  """
  source = _open_whole(data, split)
  if not data.list or split != data.train_split:
    return source
  return ListedSubset(source, read_list(f'config.data.list={data.list!r}', data.list, places(source)))


def _open_whole(data: Data, split: str) -> DataSet:
  kind, _, name = data.source.partition(':')
  name = os.path.expanduser(name)
  if kind == 'digits' and not name:
    return Digits(split)
  if kind == 'digit_scenes' and not name:
    return DigitScenes(split)
  if kind == 'tfds' and name:
    return TFDS(name, split, download=data.download)
  if kind == 'folder' and name:
    return open_folder(name, split, train=data.train_split, evaluation=data.eval_split)
  if kind in BENCHMARKS and name:
    return SceneFolder(kind, name, split)
  if kind == 'uned' and name:
    return UnED(name, split)
  if kind == 'task' and name:
    return tasks.open_task(name, split, download=data.download)
  raise ConfigError(f'config.data.source={data.source!r}: must be digits, digit_scenes, tfds:NAME, folder:PATH, '
                    f'uned:PATH, task:NAME or, with label maps, {":PATH, ".join(BENCHMARKS)}:PATH')
