"""Data sets prepared by TensorFlow Datasets."""

from collections.abc import Callable, Sequence
from concurrent import futures
import difflib
import functools
import itertools
import os
import re
from typing import Any, NamedTuple

from array_record.python.array_record_module import ArrayRecordReader
import numpy as np

from maskrep.data import label_maps
from maskrep.data.decode import decode
from maskrep.data.limits import MAX_PIXELS
from maskrep.data.sources.source import Example
from maskrep.errors import ConfigError, DataError

IN_MEMORY = 2**28  # bytes up to which a tfds split is read as a whole: a random read of ArrayRecord costs 0.2 ms of CPU


class Rule(NamedTuple):
  """Computes the label of a record that does not have a single `ClassLabel` feature."""

  title: str  # distinguishes the rules of a data set
  reads: tuple[str, ...]  # features of a record, '/' between levels
  label: Callable[..., int]  # of the values of each, flat and of any length; -1 for a record without a label
  num_classes: int
  pixel_scale: int = 1  # factor of the pixels, if white is not 255


class TFDS:
  """A data set that TensorFlow Datasets prepared as ArrayRecord in TFDS_DATA_DIR. TensorFlow is not needed.

  `name` and `split` follow the syntax of tfds ('train[:90%]' too). Nothing is downloaded without `download`. The name
  of an example is the feature file_name or filename of its record or, without these, the number of the record.

  Raises:
    ConfigError: no such data set or split; not prepared, or in a format without random access; no image in it; or the
      rule reads a missing feature.
    DataError: a file is missing or damaged, or does not hold the number of records that it should.
  """

  labels = None

  def __init__(self, name: str, split: str, *, download: bool = False, rule: Rule | None = None):
    import tensorflow_datasets as tfds  # takes seconds, which no other source should pay
    from tensorflow_datasets.proto import tf_example_pb2

    field = f'config.data.source=tfds:{name}'
    builder = _prepared_builder(tfds, name, field, download)
    length = _length(builder, split, field)
    self._choose_features(tfds, builder.info, field)
    self._rule = rule
    self.num_classes = builder.info.features[self._label].num_classes if self._label else 0
    self.fingerprint = f'tfds:{builder.info.full_name}:{split}:{length}'
    self.class_names = tuple(builder.info.features[self._label].names) if self._label and not rule else None
    if rule:
      self.num_classes = rule.num_classes
      self.fingerprint += f':{rule.title}'
    labels = f'{self.num_classes} classes' if self.num_classes else 'without labels'
    maps = f', with label maps of {self.map_classes} classes' if self.map_classes else ''
    self.summary = f'{length} images, {labels}{maps}'
    # tfds's own deserialisation holds the interpreter's lock 15 times as long as parsing the record does.
    self._parse = tf_example_pb2.Example.FromString  # pyright: ignore[reportAttributeAccessIssue]  made at run time
    try:
      self._records = _open_records(tfds, builder, split)
      missing = [name for name in rule.reads if name not in self._features(0)] if rule else []
    except OSError as error:
      raise DataError(f'{field}: {error}; prepare it again') from error
    if rule and missing:
      raise ConfigError(f'{field}: its records hold no {missing[0]!r}, by which {rule.title!r} labels them; prepare '
                        'the version that tfds has now')

  def _choose_features(self, tfds, info, field: str) -> None:
    """Finds the features that hold the image, the label, the label map and the name; all but the image may be None."""
    self._label_map, self.map_lookup = label_maps.of_tfds(info.name, info.features)
    self.map_classes = label_maps.count(self.map_lookup)
    pictures = {key: feature for key, feature in info.features.items() if key not in label_maps.FEATURES}
    self._image = _feature(pictures, tfds.features.Image, 'image')
    self._label = _feature(info.features, tfds.features.ClassLabel, 'label')
    self._name = next((name for name in ('file_name', 'filename') if name in info.features), None)
    if not self._image:
      raise ConfigError(f'{field}: holds no images, but {", ".join(info.features)}; take another data set')
    sides = pictures[self._image].shape[:2]
    self.side = None if None in sides else max(sides)

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
    """The name of an example; reads the record if the name is in it."""
    return self._named(index, self._features(index) if self._name else {})

  def values(self, index: int, feature: str) -> Sequence:
    """All values of one feature of a record, flat."""
    return _values(self._features(index)[feature])

  def _features(self, index: int):
    try:
      record = self._records[range(len(self))[index]]  # raises IndexError as a sequence does
    except RuntimeError as error:  # how ArrayRecord reports a failed checksum and a lost file
      raise OSError(f'{self.fingerprint} record {index}: {error}') from error
    return self._parse(record).features.feature

  def _named(self, index: int, features) -> str:
    if not self._name:
      return f'{self.fingerprint} record {index}'
    return features[self._name].bytes_list.value[0].decode()


def _feature(features, kind: type, usual: str) -> str | None:
  """The name of a feature of this kind: the usual one, else the first by name (tfds keeps no order), else None."""
  names = sorted(name for name, feature in features.items() if isinstance(feature, kind))
  return usual if usual in names else next(iter(names), None)


def _values(feature) -> Sequence:
  """The values of a feature of a tf.Example, of any type; () if it has none."""
  kind = feature.WhichOneof('kind')
  return getattr(feature, kind).value if kind else ()


def _length(builder, split: str, field: str) -> int:
  """The number of examples of a split, which must exist, not be empty, and be in a format with random access."""
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
  return length


def _open_records(tfds, builder, split: str) -> Sequence[bytes]:
  """The records of a split, in memory if they are small, after checking every shard. Raises OSError."""
  shards = builder.info.splits[split].file_instructions
  in_memory = sum(os.path.getsize(shard.filename) for shard in shards) <= IN_MEMORY
  with futures.ThreadPoolExecutor(16) as pool:  # there may be a thousand, on a disk that is far away
    records = list(pool.map(functools.partial(_check_shard, read=in_memory), shards))
  if in_memory:
    return list(itertools.chain.from_iterable(records))
  return builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)


def _check_shard(shard, read: bool) -> list[bytes]:
  """The records that a split takes from a shard; [] without `read`. Raises OSError if the shard is incomplete."""
  try:
    reader = ArrayRecordReader(shard.filename)
    if (found := reader.num_records()) != shard.examples_in_shard:
      reader.close()  # only this raises the reason if a file cannot be read at all
      raise OSError(f'{shard.filename} holds {found} records, not {shard.examples_in_shard} as dataset_info.json says')
    return reader.read(range(shard.skip, shard.skip + shard.take)) if read else []
  except RuntimeError as error:  # it names no file
    raise OSError(f'{shard.filename}: {str(error).splitlines()[0]}') from error


def _prepared_builder(tfds, name: str, field: str, download: bool) -> Any:
  """The builder of a data set, read from its files, without the code that wrote them, which may need TensorFlow."""
  data_dir = os.environ.get('TFDS_DATA_DIR')  # tfds itself reads it only once, when it is imported
  try:
    return tfds.core.read_only_builder.builder_from_files(name, data_dir=data_dir)
  except ValueError:  # not found, or not a name; distinguished below
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
