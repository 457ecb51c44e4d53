"""Label maps: what their values mean, that they lie on their pictures, and that who does not ask for them has none."""

import io

import numpy as np
from PIL import Image
import pytest
import tensorflow_datasets as tfds

from maskrep.data import label_maps
from maskrep.data.batch import FIELDS
from maskrep.data.decode import BrokenImage, decode, decode_label_map
from maskrep.data.label_maps import NONE, UNKNOWN, MapValues, lookup
from maskrep.data.loader import Loader, in_order
from maskrep.data.sources.scenes import STROKE, DigitScenes
from maskrep.data.sources.source import Example
from maskrep.data.sources.tfds import TFDS
from maskrep.errors import ConfigError, DataError
from tests.support.pictures import encode, gradient, prepare
from tests.support.records import READS

pytestmark = pytest.mark.quick

SAME = lookup(MapValues(range(254)))


def read(source, canvas, reads=FIELDS):
  return next(in_order(source, batch_size=2, canvas=canvas, threads=1, stall_timeout_s=60, reads=reads))


def test_scenes_are_drawn_from_their_number_alone():
  train, test = DigitScenes('train'), DigitScenes('test')
  assert (len(train), len(test), train.num_classes, train.map_classes) == (1000, 200, 0, 11)
  assert train.fingerprint != test.fingerprint
  other = DigitScenes('train')
  for i in (999, 3, 999):
    np.testing.assert_array_equal(train[i].image, other[i].image)
    np.testing.assert_array_equal(train[i].label_map, other[i].label_map)
  assert train[3].label == -1 and (train[3].image != train[4].image).any()
  # The stream of RandomState is frozen, and so are the scenes.
  assert [int(train[i].image.sum()) for i in range(3)] == [25880, 23978, 19140]


def test_the_map_of_a_scene_is_of_the_strokes_that_it_shows():
  source = DigitScenes('test')
  scenes = [source[i] for i in range(100)]
  images, maps = (np.stack([getattr(scene, part) for scene in scenes]) for part in ('image', 'label_map'))
  assert images.shape == maps.shape == (100, 32, 32) and images.dtype == maps.dtype == np.uint8
  np.testing.assert_array_equal(images >= STROKE, maps < 10)
  assert set(np.unique(maps)) == set(range(11))
  counts = [len(set(np.unique(m)) - {10}) for m in maps]
  assert min(counts) == 1 and 3 <= max(counts) <= 4


def test_scenes_have_two_splits():
  with pytest.raises(ConfigError, match="no split 'val'; there are: train, test"):
    DigitScenes('val')


@pytest.mark.parametrize('height, width, canvas', [(40, 80, 20), (41, 83, 20), (7, 9, 20), (60, 30, 7)])
@pytest.mark.parametrize('kind', ['array', 'L', 'P'])
def test_a_map_is_reduced_with_its_picture_by_nearest_neighbour(height, width, canvas, kind):
  values = np.random.default_rng(0).integers(0, 254, (height, width), np.uint8)
  pixels = decode(gradient(height, width), canvas=canvas)
  label_map = values
  if kind != 'array':
    picture = Image.fromarray(values)
    if kind == 'P':
      picture = Image.frombytes('P', (width, height), values.tobytes())
      picture.putpalette(list(np.random.default_rng(1).permutation(256).repeat(3)))
    label_map = encode(picture, 'PNG')
  found = decode_label_map(label_map, SAME, size=pixels.shape[:2])
  expected = Image.fromarray(values).resize(pixels.shape[1::-1], Image.Resampling.NEAREST)
  np.testing.assert_array_equal(found, expected)


def test_what_values_mean():
  table = lookup(MapValues((1, 2, 7), (0, 5)))
  assert table[[1, 2, 7, 0, 5, 255, 3]].tolist() == [0, 1, 2, NONE, NONE, NONE, UNKNOWN]
  assert label_maps.count(table) == 3
  cityscapes = lookup(label_maps.TFDS['cityscapes'])
  assert label_maps.count(cityscapes) == 19 and UNKNOWN not in cityscapes[:34]
  assert cityscapes[[6, 7, 26, 33]].tolist() == [NONE, 0, 13, 18]


@pytest.mark.parametrize('label_map, reason', [
  (np.zeros((30, 20), np.uint8), 'its label map: it is 20 x 30, which is not the shape'),
  (np.zeros((20, 30, 3), np.uint8), r'shape \(20, 30, 3\)'),
  (encode(gradient(20, 30), 'PNG'), 'has the channels R, G, B'),
  (encode(Image.fromarray(np.full((20, 30), 300, np.uint16)), 'PNG'), 'values up to 300'),
  (b'<html>', 'its label map: not a picture in the format JPEG, '),
  (None, 'its label map: there is none'),
])
def test_a_map_that_cannot_be_of_the_picture_is_broken(label_map, reason):
  with pytest.raises(BrokenImage, match=reason):
    decode_label_map(label_map, SAME, size=(20, 30))


class Mapped:
  """Pictures of 20 x 30 with a map of their columns' thirds, the last of them `last`."""

  num_classes, map_classes, map_lookup, fingerprint = 0, 3, lookup(MapValues((1, 2, 3), (0,))), 'mapped'

  def __init__(self, last=3, broken=()):
    self.last, self.broken = last, broken

  def __len__(self):
    return 3

  def __getitem__(self, i):
    values = np.repeat(np.array([1, 0, self.last], np.uint8), 10)
    label_map = b'<html>' if i in self.broken else encode(np.tile(values, (20, 1)), 'PNG')
    return Example(gradient(20, 30), -1, f'picture {i}', label_map)


def load(source, **options):
  return Loader(source, **{'batch_size': 2, 'canvas': 15, 'seed': 0, 'threads': 1, 'max_broken_fraction': 1.0,
                           'stall_timeout_s': 60, 'reads': FIELDS} | options)


def test_batches_have_maps_on_the_pictures_canvas():
  for batch in (load(Mapped())[0], read(Mapped(), 15)):
    assert batch['label_map'].shape == (2, 15, 15) and batch['label_map'].dtype == np.uint8
    assert batch['size'].tolist() == [[10, 15]] * 2
    np.testing.assert_array_equal(batch['label_map'][:, :10], np.broadcast_to(
      np.repeat(np.array([0, 255, 2], np.uint8), 5), (2, 10, 15)))
    assert (batch['label_map'][:, 10:] == 255).all()


def test_who_does_not_ask_for_maps_gets_none_and_reads_none():
  broken = Mapped(broken=range(3))
  for batch in (load(broken, reads=READS)[0], read(broken, 15, reads=READS)):
    assert 'label_map' not in batch and not batch.get('broken', ~batch.get('valid', True)).any()
  batch, plain = load(Mapped())[1], load(Mapped(), reads=READS)[1]
  assert batch.keys() - plain.keys() == {'label_map'}
  for name in plain:
    np.testing.assert_array_equal(batch[name], plain[name])


def test_a_broken_map_is_a_broken_picture():
  batches = list(in_order(Mapped(broken=[1]), batch_size=2, canvas=15, threads=1, stall_timeout_s=60, reads=FIELDS))
  assert [batch['valid'].tolist() for batch in batches] == [[True, False], [True, False]]
  for batch in batches:
    assert (batch['label_map'][1] == 255).all() and not batch['image'][1].any()
  assert load(Mapped(broken=[1]), batch_size=3)[0]['broken'].sum() == 1


def test_a_value_of_no_class_ends_it_at_once():
  with pytest.raises(DataError, match='picture . has a label map with a value that is none of its 3 classes'):
    read(Mapped(last=4), 15)


@pytest.mark.parametrize('table, feature, expected', [
  ({'tiny': label_maps.TFDS['oxford_iiit_pet']}, tfds.features.Image(shape=(None, None, 1), use_colormap=True), 3),
  ({}, tfds.features.LabeledImage(labels=5, encoding_format='png'), 5),
  ({}, tfds.features.Image(shape=(None, None, 1)), 0),
], ids=['in the table', 'says it itself', 'not known'])
def test_maps_of_tfds(tmp_path, monkeypatch, table, feature, expected):
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  monkeypatch.setattr(label_maps, 'TFDS', table)
  maps = [np.full((5, 6), i % 4, np.uint8) for i in range(4)]
  examples = [{'segmentation_mask': io.BytesIO(encode(m, 'PNG')), 'picture': io.BytesIO(encode(gradient(5, 6), 'PNG'))}
              for m in maps]
  prepare(tmp_path, {'segmentation_mask': feature, 'picture': tfds.features.Image(shape=(None, None, 3))},
          {'train': examples})
  source = TFDS('tiny', 'train')
  assert source.map_classes == expected and source.num_classes == 0
  np.testing.assert_array_equal(decode(source[0].image, canvas=8), gradient(5, 6))
  if not expected:
    assert source[0].label_map is None
    return
  found = sorted(np.unique(decode_label_map(e.label_map, source.map_lookup, size=(5, 6))).tolist() for e in source)
  assert found == ([[0], [1], [2], [UNKNOWN]] if expected == 3 else [[0], [1], [2], [3]])
