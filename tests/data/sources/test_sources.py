"""The three sources: what they hold, what their labels mean, and the one line they fail with."""

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
from maskrep.data.limits import MAX_BYTES
from maskrep.data.sources import tfds as tfds_source
from maskrep.data.sources.digits import Digits
from maskrep.data.sources.folder import Folder
from maskrep.data.sources.tfds import IN_MEMORY, TFDS
from maskrep.errors import ConfigError, DataError
from tests.support.pictures import encode, gradient, prepare

FEATURES = {'picture': tfds.features.Image(shape=(None, None, 3)), 'kind': tfds.features.ClassLabel(num_classes=3)}


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
  assert train.num_classes == 10 and train.fingerprint != test.fingerprint


def test_digits_are_those_of_scikit_learn_in_the_range_of_a_byte():
  digits = load_digits()
  for image, label, name, _ in Digits('test'):
    i = int(name.split()[-1])
    assert image.dtype == np.uint8 and label == digits.target[i]
    np.testing.assert_array_equal(image, np.round(digits.images[i] * 255 / 16))


def test_digits_have_two_splits():
  with pytest.raises(ConfigError, match="no split 'val'; there are: train, test"):
    Digits('val')


# Folders.


def write(root, *names, size=(6, 8)):
  for name in names:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(gradient(*size), 'PNG'))


def seen(source) -> list[tuple[str, int]]:
  return [(os.path.relpath(example.name, source._root), example.label) for example in source]


def test_flat_folder_has_no_labels_and_a_fixed_order(tmp_path):
  write(tmp_path, 'b.PNG', 'a.jpeg', 'c.Webp', '.hidden.png', 'notes.txt')
  source = Folder(str(tmp_path), 'train')
  assert seen(source) == [('a.jpeg', -1), ('b.PNG', -1), ('c.Webp', -1)]
  assert source.num_classes == 0
  assert decode(source[0].image, canvas=8).shape == (6, 8, 3)


def test_class_folders_are_labels_at_any_depth(tmp_path):
  write(tmp_path, 'dog/2.png', 'cat/deep/er/1.png', 'cat/3.png', '.cache/x.png')
  (tmp_path / 'none').mkdir()
  source = Folder(str(tmp_path), 'train')
  assert seen(source) == [('cat/3.png', 0), ('cat/deep/er/1.png', 0), ('dog/2.png', 1)]
  assert source.num_classes == 3


def test_a_folder_of_both_kinds_has_no_labels(tmp_path):
  write(tmp_path, 'dog/2.png', '1.png')
  source = Folder(str(tmp_path), 'train')
  assert seen(source) == [('1.png', -1), ('dog/2.png', -1)] and source.num_classes == 0


def test_splits_are_sub_folders_and_share_the_labels_of_train(tmp_path):
  write(tmp_path, 'train/a/1.png', 'train/b/1.png', 'train/c/1.png', 'val/c/1.png')
  assert seen(Folder(str(tmp_path), 'train')) == [('a/1.png', 0), ('b/1.png', 1), ('c/1.png', 2)]
  val = Folder(str(tmp_path), 'val')
  assert seen(val) == [('c/1.png', 2)] and val.num_classes == 3


def test_labels_of_one_split_do_not_need_another(tmp_path):
  write(tmp_path, 'train/1.png', 'val/c/1.png')
  assert Folder(str(tmp_path), 'train').num_classes == 0
  assert seen(Folder(str(tmp_path), 'val')) == [('c/1.png', 0)]


def test_fingerprint_follows_the_files_and_not_their_place(tmp_path):
  for name in ('one', 'two'):
    write(tmp_path / name, 'a/1.png', 'b/2.png')
  first, second = (Folder(str(tmp_path / name), 'train').fingerprint for name in ('one', 'two'))
  assert first == second
  write(tmp_path / 'two', 'b/2.png', size=(9, 9))
  third = Folder(str(tmp_path / 'two'), 'train').fingerprint
  write(tmp_path / 'two', 'b/3.png')
  assert len({first, third, Folder(str(tmp_path / 'two'), 'train').fingerprint}) == 3


@pytest.mark.parametrize('names, split, remedy', [
  ([], 'train', 'is not a folder; give the path'),
  (['notes.txt'], 'train', 'has no image in .*; looked for .jpg'),
  (['a.png'], 'val', "has no sub-folder 'val'"),
  (['train/a/1.png', 'val/b/1.png'], 'val', "b/1.png of split 'val' is of a class that 'train' lacks"),
])
def test_folders_fail_in_one_line(tmp_path, names, split, remedy):
  path = tmp_path / 'images'
  write(path, *names)
  with pytest.raises(ConfigError, match=remedy) as failure:
    Folder(str(path), split)
  assert one_line(failure).startswith(f'config.data.source=folder:{path}: ')


def test_folder_without_a_readable_image_fails_in_one_line(tmp_path):
  for i in range(40):
    (tmp_path / f'{i}.jpg').write_text('<html>')
  with pytest.raises(ConfigError, match='has no image that can be read') as failure:
    Folder(str(tmp_path), 'train')
  one_line(failure)
  write(tmp_path, '0.jpg')
  assert len(Folder(str(tmp_path), 'train')) == 40


def test_a_file_above_the_limit_is_not_read_to_its_end(tmp_path):
  write(tmp_path, '1.png')
  with (tmp_path / '2.png').open('wb') as file:
    file.truncate(10**9)
  assert len(Folder(str(tmp_path), 'train')[1].image) < 2 * MAX_BYTES


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
