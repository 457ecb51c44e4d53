"""Digits and data sets of tfds: what they hold, what their labels mean, and the one line they fail with."""

from concurrent import futures
import io
import itertools
import os

from array_record.python import array_record_module
import numpy as np
import pytest
from sklearn.datasets import load_digits
import tensorflow_datasets as tfds

from maskrep.data.decode import decode
from maskrep.data.sources import tfds as tfds_source
from maskrep.data.sources.digits import Digits
from maskrep.data.sources.tfds import IN_MEMORY, TFDS
from maskrep.errors import ConfigError, DataError
from tests.support.pictures import encode, prepare

pytestmark = pytest.mark.quick

FEATURES = {'picture': tfds.features.Image(shape=(None, None, 3)),
            'kind': tfds.features.ClassLabel(names=['cat', 'dog', 'eel'])}


def one_line(failure) -> str:
  message = str(failure.value)
  assert '\n' not in message
  return message


# Digits.


def test_digits_are_split_by_class_and_completely():
  train, test = Digits('train'), Digits('test')
  names = [example.name for example in itertools.chain(train, test)]
  assert len(names) == len(set(names)) == 1797
  counts = [np.bincount([example.label for example in split], minlength=10) for split in (train, test)]
  np.testing.assert_allclose(counts[0] / sum(counts), 0.8, atol=0.005)
  assert train.num_classes == 10 and train.class_names == tuple('0123456789') and train.fingerprint != test.fingerprint


def test_digits_are_those_of_scikit_learn_in_the_range_of_a_byte():
  digits = load_digits()
  for image, label, name, *_ in Digits('test'):
    i = int(name.split()[-1])
    assert image.dtype == np.uint8 and label == digits.target[i]
    np.testing.assert_array_equal(image, np.round(digits.images[i] * 255 / 16))


def test_digits_have_two_splits():
  with pytest.raises(ConfigError, match="no split 'val'; there are: train, test"):
    Digits('val')


# tfds.


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  return tmp_path


def examples(count: int) -> list[dict]:
  pictures = (encode(np.full((5, 6, 3), i % 251, np.uint8), 'PNG') for i in range(count))
  return [{'picture': io.BytesIO(picture), 'kind': i % 3} for i, picture in enumerate(pictures)]


@pytest.mark.parametrize('in_memory', [0, IN_MEMORY], ids=['from disk', 'from memory'])
def test_tfds_source_holds_each_record_with_its_label(data_dir, monkeypatch, in_memory):
  monkeypatch.setattr(tfds_source, 'IN_MEMORY', in_memory)
  prepare(data_dir, FEATURES, {'train': examples(30), 'test': examples(4)})
  source = TFDS('tiny', 'train')
  assert (len(source), source.num_classes, source.fingerprint) == (30, 3, 'tfds:tiny/1.0.0:train:30')
  assert source.class_names == ('cat', 'dog', 'eel') and source.summary == '30 images, 3 classes'
  found = {int(decode(image, canvas=8)[0, 0, 0]): label for image, label, *_ in source}
  assert found == {i: i % 3 for i in range(30)}
  with futures.ThreadPoolExecutor(8) as pool:
    assert list(pool.map(TFDS('tiny', 'train').__getitem__, [*range(30)] * 4)) == [source[i] for i in range(30)] * 4


@pytest.mark.parametrize('split', ['train[3:]', 'train[5:6]+test'])
def test_tfds_source_equals_what_tfds_reads(data_dir, split):
  prepare(data_dir, FEATURES, {'train': examples(9), 'test': examples(4)}, shards=2)
  theirs = tfds.data_source('tiny', split=split, data_dir=data_dir, decoders={
    'picture': tfds.decode.SkipDecoding()})
  ours = TFDS('tiny', split)
  assert [(e.image, e.label) for e in ours] == [(e['picture'], e['kind']) for e in theirs]


def test_tfds_source_without_labels(data_dir):
  prepare(data_dir, {'picture': FEATURES['picture']}, {'train': [{'picture': e['picture']} for e in examples(3)]})
  source = TFDS('tiny', 'train')
  assert source.num_classes == 0 and [example.label for example in source] == [-1] * 3


def test_tfds_source_without_images(data_dir):
  prepare(data_dir, {'kind': FEATURES['kind']}, {'train': [{'kind': 1}]})
  with pytest.raises(ConfigError, match='holds no images, but kind'):
    TFDS('tiny', 'train')


@pytest.mark.parametrize('split', ['trian', 'train[', 'train[:0%]', ''])
def test_tfds_names_the_splits(data_dir, split):
  prepare(data_dir, FEATURES, {'train': examples(3), 'test': examples(1)})
  with pytest.raises(ConfigError, match='it is empty; there are: ') as failure:
    TFDS('tiny', split)
  assert {'train', 'test'} <= set(one_line(failure).split(': ')[-1].split(', '))


@pytest.mark.parametrize('name, remedy', [
  ('fashionmnist', 'nearest names: fashion_mnist'),
  ('huggingface:x', 'unknown to tfds'),
  ('../x y', 'unknown to tfds'),
  ('mnist', r"run: pip install 'maskrep\[prepare\]' && tfds build mnist --file_format=array_record$"),
])
def test_tfds_data_that_is_not_there_fails_at_once_and_downloads_nothing(data_dir, monkeypatch, name, remedy):
  monkeypatch.setattr(tfds.core.DatasetBuilder, 'download_and_prepare', None)
  with pytest.raises(ConfigError, match=remedy) as failure:
    TFDS(name, 'train')
  assert one_line(failure).startswith(f'config.data.source=tfds:{name}: ')
  assert not list(data_dir.iterdir())


def test_tfds_downloads_when_asked(data_dir, monkeypatch):
  def prepared(builder):
    raise OSError('no\nnetwork')

  monkeypatch.setattr(tfds.core.DatasetBuilder, 'download_and_prepare', prepared)
  with pytest.raises(ConfigError, match='download=True: mnist was not prepared .*network.*tfds build') as failure:
    TFDS('mnist', 'train', download=True)
  one_line(failure)


def test_tfds_data_without_random_access(data_dir):
  prepare(data_dir, FEATURES, {'train': examples(3)})
  info = data_dir / 'tiny/1.0.0/dataset_info.json'
  info.write_text(info.read_text().replace('array_record', 'tfrecord'))
  with pytest.raises(ConfigError, match='prepared as tfrecord') as failure:
    TFDS('tiny', 'train')
  assert f'tfds convert_format --dataset_version_dir={data_dir}/tiny/1.0.0 ' in one_line(failure)


def rewrite(shard, change) -> None:
  """Writes a shard again with other records."""
  reader = array_record_module.ArrayRecordReader(str(shard))
  records = reader.read_all()
  shard.unlink()
  writer = array_record_module.ArrayRecordWriter(str(shard), 'group_size:1')
  for record in change(records):
    writer.write(record)
  writer.close()


DAMAGE = {
  'missing': (lambda shard: shard.unlink(), 'No such file'),
  'renamed': (lambda shard: shard.rename(shard.with_name('renamed')), 'No such file'),
  'cut off': (lambda shard: os.truncate(shard, shard.stat().st_size - 100), 'Corrupted'),
  'empty': (lambda shard: os.truncate(shard, 0), 'should be at least'),
  'fewer records': (lambda shard: rewrite(shard, lambda records: records[:-1]), 'holds 9 records, not 10'),
  'more records': (lambda shard: rewrite(shard, lambda records: records * 2), 'holds 20 records, not 10'),
}


@pytest.mark.parametrize('split', ['train', 'train[2:]', 'train[13:17]+test'])
@pytest.mark.parametrize('in_memory', [0, IN_MEMORY], ids=['from disk', 'from memory'])
@pytest.mark.parametrize('damage', DAMAGE)
def test_tfds_shard_that_is_not_whole_is_named(data_dir, monkeypatch, damage, in_memory, split):
  monkeypatch.setattr(tfds_source, 'IN_MEMORY', in_memory)
  prepare(data_dir, FEATURES, {'train': examples(30), 'test': examples(3)}, shards=3)
  TFDS('tiny', split)
  shard = data_dir / 'tiny/1.0.0/tiny-train.array_record-00001-of-00003'
  harm, reason = DAMAGE[damage]
  harm(shard)
  with pytest.raises(DataError, match=f'^config.data.source=tfds:tiny: .*{reason}') as failure:
    TFDS('tiny', split)
  assert str(shard) in one_line(failure) and failure.value.exit_code == 3


def test_tfds_damaged_record_is_an_os_error_or_stops_at_the_start(data_dir, monkeypatch):
  prepare(data_dir, FEATURES, {'train': examples(300)})
  file, = data_dir.glob('tiny/1.0.0/*array_record*')
  data = bytearray(file.read_bytes())
  data[200] ^= 1
  file.write_bytes(data)
  with pytest.raises(DataError, match=f'{file}: Corrupted .* prepare it again') as failure:
    TFDS('tiny', 'train')
  one_line(failure)

  monkeypatch.setattr(tfds_source, 'IN_MEMORY', 0)
  source = TFDS('tiny', 'train')
  with pytest.raises(OSError, match='tiny/1.0.0:train:300 record'):
    list(source)
