"""The tasks are as tfds has their data sets, and label records as VTAB does."""

import dataclasses
import inspect
import io
import re
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from maskrep.data.datasets import Data, open_source
from maskrep.data.decode import decode
from maskrep.data.sources import tasks
from maskrep.data.sources.tasks import TASKS, VTAB
from maskrep.errors import ConfigError
from tests.support.pictures import encode, prepare

pytestmark = pytest.mark.quick

# Classes, and examples of each split that a task is cut from: VTAB's table of data sets, and tfds's catalogue.
TFDS = {
  'caltech101': (102, {'train': 3060, 'test': 6084}),
  'cifar10': (10, {'train': 50_000, 'test': 10_000}),
  'cifar100': (100, {'train': 50_000, 'test': 10_000}),
  'dtd': (47, {'train': 1880, 'validation': 1880, 'test': 1880}),
  'oxford_flowers102': (102, {'train': 1020, 'validation': 1020, 'test': 6149}),
  'oxford_iiit_pet': (37, {'train': 3680, 'test': 3669}),
  'svhn_cropped': (10, {'train': 73_257, 'test': 26_032}),
  'sun397/tfds': (397, {'train': 76_128, 'validation': 10_875, 'test': 21_750}),
  'patch_camelyon': (2, {'train': 262_144, 'validation': 32_768, 'test': 32_768}),
  'eurosat/rgb': (10, {'train': 27_000}),
  'resisc45': (45, {'train': 31_500}),
  'diabetic_retinopathy_detection/btgraham-300': (5, {'train': 35_126, 'validation': 10_906, 'test': 42_670}),
  'clevr': (None, {'train': 70_000, 'validation': 15_000}),
  'dmlab': (6, {'train': 65_550, 'validation': 22_628, 'test': 22_735}),
  'kitti': (None, {'train': 6347, 'validation': 423, 'test': 711}),
  'dsprites': (None, {'train': 737_280}),
  'smallnorb': (None, {'train': 24_300, 'test': 24_300}),
  'i_naturalist2018': (8142, {'train': 437_513, 'validation': 24_426}),
  'places365_small': (365, {'train': 1_803_460, 'validation': 36_500}),
}
# Of VTAB's table.
TEST_EXAMPLES = {
  'caltech101': 6084, 'cifar100': 10_000, 'dtd': 1880, 'flowers102': 6149, 'pets': 3669, 'svhn': 26_032,
  'sun397': 21_750, 'patch_camelyon': 32_768, 'eurosat': 5400, 'resisc45': 6300, 'retinopathy': 42_670,
  'clevr_count': 15_000, 'clevr_distance': 15_000, 'dmlab': 22_735, 'kitti': 711, 'dsprites_location': 73_728,
  'dsprites_orientation': 73_728, 'smallnorb_azimuth': 12_150, 'smallnorb_elevation': 12_150,
}
DATA = Data(source='', train_split='train', eval_split='test', download=False, canvas=64, threads=1,
            max_broken_fraction=0.0, stall_timeout_s=60)


def feature(features, name):
  """That of a nested name, whose levels may have '/' in themselves."""
  if name in features:
    return features[name]
  level, _, rest = name.partition('/')
  return feature(features[level].feature, rest)


@pytest.mark.parametrize('name', TASKS)
def test_tfds_has_the_data_set_its_splits_and_features(tmp_path, name):
  task = TASKS[name]
  builder = tfds.builder(task.dataset, data_dir=tmp_path)
  features, (classes, sizes) = builder.info.features, TFDS[task.dataset]
  code = inspect.getsource(sys.modules[type(builder).__module__])
  for split in task.splits.values():
    for base in re.findall(r'[a-z]+', split):
      assert base in sizes and re.search(rf'Split\.{base.upper()}\b|[\'"]{base}[\'"]', code)
  assert isinstance(features['image'], tfds.features.Image)
  if task.rule:
    for read in task.rule.reads:
      assert feature(features, read) is not None
  else:
    assert features['label'].num_classes == classes
  if task.rule and len(task.rule.reads) == 1 and task.rule.reads[0] == task.rule.title:
    assert features[task.rule.title].num_classes == task.rule.num_classes
  assert 'tensorflow' not in sys.modules


@pytest.mark.parametrize('name', TASKS)
def test_splits_have_the_sizes_of_the_paper(name):
  task = TASKS[name]
  template = tfds.core.ShardedFileTemplate(data_dir='/', dataset_name='x', filetype_suffix='array_record')
  splits = tfds.core.splits.SplitDict([
    tfds.core.SplitInfo(name=split, shard_lengths=[size], num_bytes=0, filename_template=template)
    for split, size in TFDS[task.dataset][1].items()])
  found = {use: splits[split].num_examples for use, split in task.splits.items()}
  if name in VTAB:
    assert found == {
      'train': 1000, 'test': TEST_EXAMPLES[name.removeprefix('vtab_')], 'train800': 800, 'val200': 200}
    seen = {use: {(shard.filename, i) for shard in splits[split].file_instructions
                  for i in range(shard.skip, shard.skip + shard.take)} for use, split in task.splits.items()}
    assert not seen['train'] & seen['test'] and len(seen['train']) == 1000
    assert seen['train'] == seen['train800'] | seen['val200']
  else:
    assert set(found) == {'train', 'test'} and min(found.values()) > 0


def test_vtab_has_seven_four_and_eight_tasks():
  assert [len(tasks.GROUPS[f'vtab_{group}']) for group in ('natural', 'specialized', 'structured')] == [7, 4, 8]
  assert len(VTAB) == 19 and set(VTAB) == {f'vtab_{name}' for name in TEST_EXAMPLES}


@pytest.fixture
def small(tmp_path, monkeypatch):
  """Prepares a data set with tfds's own features, and makes the splits of its tasks all of it."""
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))

  def prepared(dataset: str, records: list[dict]):
    features = dict(tfds.builder(dataset, data_dir=tmp_path).info.features.items())
    prepare(tmp_path, features, {'train': records}, name=dataset)
    for name, task in TASKS.items():
      if task.dataset == dataset:
        splits = dict.fromkeys(task.splits, 'train')
        monkeypatch.setitem(tasks.TASKS, name, dataclasses.replace(task, splits=splits))

  return prepared


def opened(name: str, split: str = 'train'):
  return open_source(dataclasses.replace(DATA, source=f'task:{name}'), split)


def labels(name: str, split: str = 'train') -> dict[str, int]:
  source = opened(name, split)
  assert all(-1 <= label < source.num_classes for _, label, *_ in source)
  assert [source.name(i) for i in range(len(source))] == [example.name for example in source]
  return {example.name: example.label for example in source}


def picture(value: int = 7, shape=(8, 9, 3)) -> io.BytesIO:
  return io.BytesIO(encode(np.full(shape, value, np.uint8), 'PNG'))


def test_clevr_counts_objects_and_bins_the_closest_depth(small):
  depths = {'a.png': [9.0, 12.0, 9.1], 'b.png': [11.0, 8.0, 9.0, 10.5], 'c.png': [10.1, 30.0] * 5,
            'd.png': [8.4, 8.6, 9.7], 'e.png': [9.7, 9.6, 9.55]}
  thing = {'color': 0, 'material': 0, 'shape': 0, 'size': 1, 'rotation': 0.0, '3d_coords': [0.0, 1.0, 2.0]}
  small('clevr', [
    {'image': picture(), 'file_name': name, 'question_answer': [],
     'objects': [thing | {'pixel_coords': [1.0, 300.0, depth]} for depth in each]} for name, each in depths.items()])
  assert labels('vtab_clevr_count') == {'a.png': 0, 'b.png': 1, 'c.png': 7, 'd.png': 0, 'e.png': 0}
  # Of an upper end itself, 9.0 and 8.0, the bin is the one below.
  assert labels('vtab_clevr_distance') == {'a.png': 2, 'b.png': 0, 'c.png': 5, 'd.png': 1, 'e.png': 4}
  assert (opened('vtab_clevr_count').num_classes, opened('vtab_clevr_distance').num_classes) == (8, 6)
  assert opened('vtab_clevr_count').fingerprint != opened('vtab_clevr_distance').fingerprint


def test_kitti_bins_the_closest_car_van_or_truck():
  rule = TASKS['vtab_kitti'].rule.label
  place = [0.0, 5.0]
  assert rule([0], [*place, 7.0]) == 0
  assert rule([3, 2, 1], [*place, 1.0, *place, 25.0, *place, 20.0]) == 1  # the pedestrian is closer, and no vehicle
  assert rule([0], [*place, 30.0]) == 2
  assert rule([3], [*place, 1.0]) == 3 and rule([], []) == 3


def test_kitti_reads_its_records(small):
  thing = {'truncated': 0.0, 'occluded': 0, 'alpha': 0.0, 'bbox': tfds.features.BBox(0.0, 0.0, 1.0, 1.0),
           'dimensions': [1.0] * 3, 'rotation_y': 0.0}
  small('kitti', [{'image': picture(), 'image/file_name': 'a', 'objects': objects} for objects in (
    [thing | {'type': 'Car', 'location': [90.0, 1.0, 9.0]}], [])])
  assert sorted(labels('vtab_kitti').values()) == [1, 3]


def test_dsprites_has_sixteen_bins_and_white_pixels(small):
  zero = {f'value_{name}': 0.0 for name in ('shape', 'scale', 'orientation', 'x_position', 'y_position')}
  small('dsprites', [
    zero | {'image': picture(1, (64, 64)), 'label_shape': 0, 'label_scale': 0, 'label_orientation': i,
            'label_x_position': i % 32, 'label_y_position': 31} for i in range(40)])
  orientation = sorted(labels('vtab_dsprites_orientation').values())
  assert orientation == sorted([int(i // 2.5) for i in range(40)]) and orientation[:4] == [0, 0, 0, 1]
  np.testing.assert_array_equal(
    np.bincount(list(labels('vtab_dsprites_location').values())), [4] * 4 + [2] * 12)  # 0 ... 7 come twice
  assert decode(opened('vtab_dsprites_location')[0].image, canvas=64).min() == 255


def test_one_of_several_class_labels_is_named(small):
  small('smallnorb', [
    {'image': picture(1, (96, 96)), 'image2': picture(2, (96, 96)), 'label_category': 4, 'instance': 3,
     'label_elevation': 8, 'label_azimuth': 17, 'label_lighting': 5}])
  source = opened('vtab_smallnorb_azimuth')
  assert (source[0].label, source.num_classes) == (17, 18) and decode(source[0].image, canvas=96)[0, 0, 0] == 1
  assert opened('vtab_smallnorb_elevation')[0].label == 8


def test_records_that_lack_what_a_rule_reads_are_refused(tmp_path, monkeypatch):
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  prepare(tmp_path, {'image': tfds.features.Image()}, {'validation': [{'image': picture()}]}, name='clevr')
  with pytest.raises(ConfigError, match="tfds:clevr: its records hold no 'objects/size'"):
    opened('vtab_clevr_count', 'test')


@pytest.mark.parametrize('source, split, remedy', [
  ('task:vtab_clever_count', 'train', 'is no task; nearest names: vtab_clevr_count'),
  ('task:vtab_clevr_count', 'validation', "has no split 'validation'; there are: train, test, train800, val200"),
  ('task:vtab_clevr_count', 'train', 'is not prepared in .*tfds build clevr '),
  ('task:', 'train', 'must be .* task:NAME or, with label maps'),
])
def test_tasks_fail_in_one_line(tmp_path, monkeypatch, source, split, remedy):
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  with pytest.raises(ConfigError, match=remedy) as failure:
    open_source(dataclasses.replace(DATA, source=source), split)
  assert '\n' not in str(failure.value)
