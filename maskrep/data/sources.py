"""Where pictures come from. Each source is a random-access sequence of `Example`, safe to read from many threads."""

from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
import difflib
import functools
import hashlib
import importlib.util
import itertools
import os
import re
from typing import NamedTuple, Protocol

from array_record.python.array_record_module import ArrayRecordReader
import numpy as np

from maskrep.data import label_maps
from maskrep.data.decode import MAX_BYTES, MAX_PIXELS, BrokenImage, decode
from maskrep.errors import ConfigError, DataError

SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp', '.gif', '.bmp', '.tif', '.tiff', '.ppm', '.pgm')
IN_MEMORY = 2**28  # bytes up to which a tfds split is read as a whole: a random read of ArrayRecord costs 0.2 ms of CPU


class Example(NamedTuple):
  image: bytes | np.ndarray  # an encoded file, or uint8 pixels [H, W], [H, W, C]
  label: int  # -1 where there is none
  name: str  # what a person needs to find it
  label_map: bytes | np.ndarray | None = None  # an encoded file of one channel, or uint8 [H, W]; where there are maps


class Source(Protocol):
  """A sequence of examples. Reading one raises OSError where its bytes cannot be had.

  One with label maps also has `map_lookup`, uint8 [256]: the class that each value of a map means, or
  `label_maps.NONE`.
  """

  num_classes: int  # 0 where there are no labels
  map_classes: int  # of the label maps, 0 where there are none
  fingerprint: str  # of the data: changes when they do, not when they are moved

  def __len__(self) -> int: ...

  def __getitem__(self, index: int) -> Example: ...

  def name(self, index: int) -> str: ...


class Rule(NamedTuple):
  """How a record of tfds becomes an example, where its label is not simply a feature of the kind `ClassLabel`."""

  title: str  # tells it from other rules of the same data set
  reads: tuple[str, ...]  # features of a record, '/' between levels
  label: Callable[..., int]  # of the values of each, flat and of any length; -1 where a record has no part in the task
  num_classes: int
  pixel_scale: int = 1  # what pixels are multiplied by, where white is not 255


class Digits:
  """The 1797 handwritten digits of 8 x 8 pixels that ship inside scikit-learn, their values 0..16 scaled to 0..255.

  They have no official split. Here the members of each class are shuffled by NumPy's RandomState(0), whose stream is
  frozen, and the first 80 % of them are for training.
  """

  num_classes, map_classes = 10, 0

  def __init__(self, split: str):
    if split not in ('train', 'test'):
      raise ConfigError(f"config.data.source=digits: has no split {split!r}; there are: train, test")
    # The file that sklearn.datasets.load_digits reads; the import of scikit-learn alone takes seconds of CPU.
    package, = importlib.util.find_spec('sklearn').submodule_search_locations
    table = np.loadtxt(os.path.join(package, 'datasets', 'data', 'digits.csv.gz'), delimiter=',')
    pixels, labels = table[:, :64], table[:, 64].astype(int)
    shuffled = np.random.RandomState(0).permutation(len(labels))
    members = [shuffled[labels[shuffled] == c] for c in range(self.num_classes)]
    cuts = [round(0.8 * len(m)) for m in members]
    parts = [m[:cut] if split == 'train' else m[cut:] for m, cut in zip(members, cuts, strict=True)]
    self._indices = np.sort(np.concatenate(parts))
    self._images = (pixels * (255 / 16)).round().astype(np.uint8).reshape(-1, 8, 8)
    self._labels = labels
    self.fingerprint = f'digits:{split}:{len(self)}'

  def __len__(self) -> int:
    return len(self._indices)

  def __getitem__(self, index: int) -> Example:
    i = self._indices[index]
    return Example(self._images[i], int(self._labels[i]), self.name(index))

  def name(self, index: int) -> str:
    return f'digit {self._indices[index]}'


class TFDS:
  """A data set that TensorFlow Datasets prepared as ArrayRecord in TFDS_DATA_DIR. TensorFlow is not needed.

  `name` and `split` are as tfds understands them ('train[:90%]' too). Nothing is downloaded unless asked for. The name
  of an example is what its record holds as file_name or filename, where it does.

  Raises:
    ConfigError: no such data set or split; not prepared, or in a format without random access; no image in it; the
      rule reads what it does not hold.
    DataError: a file of it is missing or damaged, or does not hold as many records as it should.
  """

  def __init__(self, name: str, split: str, *, download: bool = False, rule: Rule | None = None):
    import tensorflow_datasets as tfds  # takes seconds, which no other source should pay
    from tensorflow_datasets.proto import tf_example_pb2

    field = f'config.data.source=tfds:{name}'
    builder = _prepared_builder(tfds, name, field, download)
    info = builder.info
    if not any(f.value == 'array_record' for f in info.available_file_formats()):
      raise ConfigError(
        f"{field}: is prepared as {info.file_format.value}, which has no random access; run: pip install "
        f"'maskrep[prepare]' && tfds convert_format --dataset_version_dir={builder.data_dir} "
        '--out_file_format=array_record'
      )
    try:
      length = info.splits[split].num_examples
    except (KeyError, ValueError):
      length = 0
    if not length:
      raise ConfigError(f'{field}: has no split {split!r}, or it is empty; there are: {", ".join(info.splits)}')
    self._label_map, self.map_lookup = label_maps.of_tfds(info.name, info.features)
    self.map_classes = label_maps.count(self.map_lookup)
    pictures = {key: feature for key, feature in info.features.items() if key not in label_maps.FEATURES}
    self._image = _feature(pictures, tfds.features.Image, 'image')
    self._label = _feature(info.features, tfds.features.ClassLabel, 'label')
    if not self._image:
      raise ConfigError(f'{field}: holds no images, but {", ".join(info.features)}; take another data set')

    self._name = next((name for name in ('file_name', 'filename') if name in info.features), None)
    self._rule = rule
    self.num_classes = info.features[self._label].num_classes if self._label else 0
    self.fingerprint = f'tfds:{info.full_name}:{split}:{length}'
    if rule:
      self.num_classes = rule.num_classes
      self.fingerprint += f':{rule.title}'
    # tfds's own deserialisation holds the interpreter's lock 15 times as long as parsing the record.
    self._parse = tf_example_pb2.Example.FromString
    shards = info.splits[split].file_instructions
    try:
      in_memory = sum(os.path.getsize(shard.filename) for shard in shards) <= IN_MEMORY
      with futures.ThreadPoolExecutor(16) as pool:  # there may be a thousand, on a disk that is far away
        records = list(pool.map(functools.partial(_check_shard, read=in_memory), shards))
      self._records = (
        list(itertools.chain.from_iterable(records)) if in_memory
        else builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES))
      lacking = [name for name in rule.reads if name not in self._features(0)] if rule else []
    except OSError as error:
      raise DataError(f'{field}: {error}; prepare it again') from error
    if lacking:
      raise ConfigError(f'{field}: its records hold no {lacking[0]!r}, by which {rule.title!r} labels them; prepare '
                        'the version that tfds has now')

  def __len__(self) -> int:
    return len(self._records)

  def __getitem__(self, index: int) -> Example:
    features = self._features(index)
    image = features[self._image].bytes_list.value[0]
    label_map = features[self._label_map].bytes_list.value[0] if self._label_map else None
    if not self._rule:
      label = features[self._label].int64_list.value[0] if self._label else -1
      return Example(image, label, self._named(index, features), label_map)
    label = self._rule.label(*(_values(features[name]) for name in self._rule.reads))
    if self._rule.pixel_scale != 1:
      image = decode(image, canvas=MAX_PIXELS) * np.uint8(self._rule.pixel_scale)
    return Example(image, label, self._named(index, features), label_map)

  def name(self, index: int) -> str:
    """Reads the record where its name is in it."""
    return self._named(index, self._features(index) if self._name else {})

  def values(self, index: int, feature: str) -> Sequence:
    """All values of one feature of a record, flat."""
    return _values(self._features(index)[feature])

  def _features(self, index: int):
    try:
      record = self._records[range(len(self))[index]]  # an IndexError where a sequence has one
    except RuntimeError as error:  # how ArrayRecord reports a failed checksum and a lost file
      raise OSError(f'{self.fingerprint} record {index}: {error}') from error
    return self._parse(record).features.feature

  def _named(self, index: int, features) -> str:
    if not self._name:
      return f'{self.fingerprint} record {index}'
    return features[self._name].bytes_list.value[0].decode()


class Folder:
  """A folder of images: flat, without labels, or one sub-folder per class, searched to any depth.

  Split S is the sub-folder S; without one, the folder itself is 'train'. Classes are the sorted names of the
  sub-folders, those of the split 'train' where there is one, so that a class has the same label in each split.
  Hidden files and files without the suffix of an image are not seen.

  Raises:
    ConfigError: no such folder or split, no image in it that can be read, or a class that 'train' does not have.
  """

  map_classes = 0

  def __init__(self, path: str, split: str):
    field = f'config.data.source=folder:{path}'
    if not os.path.isdir(path):
      raise ConfigError(f'{field}: is not a folder; give the path of a folder of images')
    self._root = os.path.join(path, split)
    if not os.path.isdir(self._root):
      if split != 'train':
        raise ConfigError(f'{field}: has no sub-folder {split!r} for that split; make one, or take another split')
      self._root = path
    try:
      files = list(_images(self._root, ''))
    except OSError as error:
      raise ConfigError(f'{field}: cannot be searched: {error}; repair it') from error
    if not files:
      raise ConfigError(f'{field}: has no image in {self._root}; looked for {" ".join(SUFFIXES)}')
    self._names = [name for name, _ in files]
    self._labels = [-1] * len(files)
    self.num_classes = 0
    if all(os.sep in name for name in self._names):
      classes = _subfolders(os.path.join(path, 'train')) or _subfolders(self._root)
      labels = {name: label for label, name in enumerate(classes)}
      for i, name in enumerate(self._names):
        if (folder := name.split(os.sep)[0]) not in labels:
          raise ConfigError(f"{field}: {name} of split {split!r} is of a class that 'train' lacks; add it there")
        self._labels[i] = labels[folder]
      self.num_classes = len(classes)
    if not any(map(self._can_be_read, range(0, len(files), -(-len(files) // 16)))):
      raise ConfigError(f'{field}: has no image that can be read in {self._root}, as {files[0][0]}; check the files')
    listing = hashlib.sha256(repr(files).encode()).hexdigest()
    self.fingerprint = f'folder:{split}:{len(files)}:{listing[:16]}'

  def __len__(self) -> int:
    return len(self._names)

  def __getitem__(self, index: int) -> Example:
    name = self.name(index)
    with open(name, 'rb') as file:
      # The decoder refuses what is longer; read() takes memory for all that it is asked for, so ask for no more.
      image = file.read(min(os.fstat(file.fileno()).st_size, MAX_BYTES + 1))
    return Example(image, self._labels[index], name)

  def name(self, index: int) -> str:
    return os.path.join(self._root, self._names[index])

  def _can_be_read(self, index: int) -> bool:
    try:
      decode(self[index].image, canvas=32)
    except (BrokenImage, OSError):
      return False
    return True


def _images(root: str, folder: str) -> Iterator[tuple[str, int]]:
  """Yields (path below root, size in bytes) of each image, in sorted order."""
  for entry in sorted(os.scandir(os.path.join(root, folder)), key=lambda entry: entry.name):
    path = os.path.join(folder, entry.name)
    if entry.name.startswith('.'):
      continue
    if entry.is_dir():
      yield from _images(root, path)
    elif entry.name.lower().endswith(SUFFIXES) and entry.is_file():
      yield path, entry.stat().st_size


def _subfolders(folder: str) -> list[str]:
  if not os.path.isdir(folder):
    return []
  return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith('.'))


def _feature(features, kind: type, usual: str) -> str | None:
  """The name of the feature of a kind: the usual one, else the first by name, as tfds keeps no order, else None."""
  names = sorted(name for name, feature in features.items() if isinstance(feature, kind))
  return usual if usual in names else next(iter(names), None)


def _values(feature) -> Sequence:
  """Of whichever kind a feature of a tf.Example is; none where it is of no kind."""
  kind = feature.WhichOneof('kind')
  return getattr(feature, kind).value if kind else ()


def _check_shard(shard, read: bool) -> list[bytes]:
  """Returns the records that a split takes from a shard, none unless asked to. Raises OSError where it is not whole."""
  try:
    reader = ArrayRecordReader(shard.filename)
    if (found := reader.num_records()) != shard.examples_in_shard:
      reader.close()  # only this raises what is wrong with a file that cannot be read at all
      raise OSError(f'{shard.filename} holds {found} records, not {shard.examples_in_shard} as dataset_info.json says')
    return reader.read(range(shard.skip, shard.skip + shard.take)) if read else []
  except RuntimeError as error:  # it names no file
    raise OSError(f'{shard.filename}: {str(error).splitlines()[0]}') from error


def _prepared_builder(tfds, name: str, field: str, download: bool):
  """The builder of a data set, read from its files, without the code that made them: that may need TensorFlow."""
  data_dir = os.environ.get('TFDS_DATA_DIR')  # tfds itself reads it only once, when it is imported
  try:
    return tfds.core.read_only_builder.builder_from_files(name, data_dir=data_dir)
  except ValueError:  # not found, or not a name; both are told apart below
    pass
  known = tfds.list_builders(with_community_datasets=False)
  base = re.split('[:/]', name)[0]
  if base not in known:
    nearest = difflib.get_close_matches(base, known, n=5, cutoff=0.5)
    raise ConfigError(f'{field}: is unknown to tfds, and not prepared; nearest names: {", ".join(nearest) or "none"}')
  command = f"pip install 'maskrep[prepare]' && tfds build {name} --file_format=array_record"
  if not download:
    raise ConfigError(f'{field}: is not prepared in {data_dir or "~/tensorflow_datasets"}; run: {command}')
  try:
    builder = tfds.builder(name, data_dir=data_dir, file_format='array_record')
    builder.download_and_prepare()
  except Exception as error:  # a network, a disk, a licence to accept, TensorFlow missing: tfds wraps none of them
    raise ConfigError(f'config.data.download=True: {name} was not prepared ({error!r:.200}); try: {command}') from error
  return builder
