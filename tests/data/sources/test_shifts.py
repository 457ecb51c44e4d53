"""The shifted data sets of tfds are in ImageNet's labels, and images with several of them keep them."""

import io
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from maskrep.data.sources import shifts
from maskrep.data.sources.shifts import ALEXNET_ERRORS, SETS, SEVERITIES
from maskrep.errors import ConfigError
from tests.support.pictures import encode, prepare

pytestmark = pytest.mark.quick

CORRUPTIONS = [f'imagenet2012_corrupted/{name}_{severity}' for name in ALEXNET_ERRORS for severity in SEVERITIES]


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  return tmp_path


def picture() -> io.BytesIO:
  return io.BytesIO(encode(np.full((5, 6, 3), 9, np.uint8), 'PNG'))


@pytest.mark.parametrize('dataset', [shift.dataset for shift in SETS.values()] + CORRUPTIONS[::7])
def test_labels_are_those_of_imagenet_by_wordnet_id(tmp_path, dataset):
  features = tfds.builder(dataset, data_dir=tmp_path).info.features
  label = features['real_label'].feature if dataset == 'imagenet2012_real' else features['label']
  imagenet = tfds.builder('imagenet2012', data_dir=tmp_path).info.features['label']
  assert label.names == imagenet.names == sorted(imagenet.names)
  assert len(label.names) == 1000 and all(name[0] == 'n' for name in label.names)
  assert 'file_name' in features and 'tensorflow' not in sys.modules


def test_corruptions_are_those_of_tfds():
  known = tfds.builder_cls('imagenet2012_corrupted').builder_configs
  assert len(CORRUPTIONS) == 75 and all(name.split('/')[1] in known for name in CORRUPTIONS)


def real(data_dir, labels: list[list[int]]):
  features = dict(tfds.builder('imagenet2012_real', data_dir=data_dir).info.features.items())
  prepare(data_dir, features, {'validation': [
    {'image': picture(), 'original_label': 1, 'real_label': each, 'file_name': str(i)}
    for i, each in enumerate(labels)]}, name='imagenet2012_real')
  return shifts.open_set('imagenet_real', download=False)


def test_an_image_with_several_labels_is_labelled_by_its_index(data_dir):
  labels = [[], [3], [999, 0], [5, 6, 7]]
  source = real(data_dir, labels)
  assert len(source) == 4 and [example.label for example in source] == [0, 1, 2, 3]
  # tfds shuffles: the name says which record it is.
  assert {source.name(i): source.right(i) for i in range(4)} == {str(i): set(each) for i, each in enumerate(labels)}
  assert source[-1].label == 3


def test_another_label_space_is_refused(data_dir):
  features = {'image': tfds.features.Image(), 'label': tfds.features.ClassLabel(num_classes=200)}
  prepare(data_dir, features, {'test': [{'image': picture(), 'label': 1}]}, name='imagenet_a')
  with pytest.raises(ConfigError, match='tfds:imagenet_a: has 200 classes, and ImageNet-1k has 1000'):
    shifts.open_set('imagenet_a', download=False)


def test_what_is_not_prepared_says_how_to(data_dir):
  with pytest.raises(ConfigError, match='tfds build imagenet2012_corrupted/fog_3 --file_format=array_record'):
    shifts.open_corruption('fog', 3, download=False)
