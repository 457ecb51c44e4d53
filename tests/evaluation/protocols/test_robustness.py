"""Top-1 under shifts, in subsets of the classes and with several right labels, and mCE by hand."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds

from maskrep.configs.evaluation import robustness as config
from maskrep.data.sources.shifts import ALEXNET_ERRORS
from maskrep.errors import ConfigError
from maskrep.evaluation.features import Features
from maskrep.evaluation.protocols.robustness import Robustness, corruption_errors, robustness, top1
from maskrep.evaluation.result import Result
from maskrep.schema import build
from tests.support.evaluator import PixelEvaluator, pixels
from tests.support.pictures import encode, prepare

pytestmark = pytest.mark.quick

ALL = tuple(ALEXNET_ERRORS)


def options(**changes) -> Robustness:
  return Robustness(**{'sets': (), 'corruptions': (), 'severities': ()} | changes)


@pytest.fixture
def put(tmp_path, monkeypatch):
  """Returns a function that prepares images with a predicted class and a label, with tfds's own features."""
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))

  def prepared(dataset, split, predicted_and_label, label='label', size=6, **more):
    features = dict(tfds.builder(dataset, data_dir=tmp_path).info.features.items())
    prepare(tmp_path, features, {split: [
      {'image': io.BytesIO(image if isinstance(image, bytes) else encode(pixels(image, size), 'PNG')), label: wanted,
       'file_name': str(i)} | more for i, (image, wanted) in enumerate(predicted_and_label)]}, name=dataset)

  return prepared


def test_predictions_are_made_among_the_classes_that_occur(put):
  # Classes 7, 500, 999 occur. After 501 come 502, 503, ...: of these classes 999; after 600 too, and after 0, 7.
  examples = [(7, 7), (600, 999), (0, 7), (501, 500)]
  for name, split in {'imagenet_a': 'test', 'imagenet_sketch': 'test'}.items():
    put(name, split, examples)
  found = robustness(PixelEvaluator(), options(sets=('imagenet_a', 'imagenet_sketch')), seed=0)
  assert found == [Result('imagenet_a', 0.75), Result('imagenet_sketch', 0.25)]


def test_classes_of_a_subset_are_found_by_label_and_not_by_place():
  logits = np.array([[9.0, 1.0, 2.0, 3.0], [0.0, 0.0, 5.0, 6.0]], np.float32)
  assert top1(logits, np.array([3, 3]), subset=True) == 1.0
  assert top1(logits, np.array([3, 2]), subset=True) == 0.5
  assert top1(logits, np.array([3, 2])) == 0.0


def test_real_labels_are_any_of_several_and_images_without_do_not_count(put):
  # The two that cannot be read are lost on the way: the labels of the others stay their own.
  put('imagenet2012_real', 'validation',
      [(3, [3]), (4, []), (999, [0, 999]), (1, [2, 3]), (b'broken', [1]), (b'broken', []), (8, [8, 2])],
      label='real_label', original_label=4)
  assert robustness(PixelEvaluator(), options(sets=('imagenet_real',)), seed=0) == [Result('imagenet_real', 0.75)]


def test_a_corruption_is_seen_whole_and_its_accuracy_is_the_mean_over_severities(put):
  put('imagenet2012_corrupted/fog_2', 'validation', [(1, 1), (2, 2), (3, 3), (4, 5)], size=224)
  put('imagenet2012_corrupted/fog_4', 'validation', [(1, 1), (2, 1), (3, 1), (4, 5)], size=224)
  evaluator = PixelEvaluator()
  found = robustness(evaluator, options(corruptions=('fog',), severities=(2, 4)), seed=0)
  assert found == [Result('fog', 0.5, each=(0.75, 0.25))]  # and no mCE, which is of all
  assert [whole for _, _, whole in evaluator.calls] == [True, True]


def test_mce_by_hand(monkeypatch):
  monkeypatch.setattr('maskrep.data.sources.shifts.open_corruption', lambda name, severity, download: (name, severity))
  wrong = {'gaussian_noise': (1, 2, 3, 4, 5), 'jpeg_compression': (10,) * 5}  # of 10 images; of others none

  class Mistaken(PixelEvaluator):
    def logits(self, source, whole: bool = False):
      name, severity = source
      labels = np.arange(10)
      guesses = np.where(labels < wrong.get(name, (0,) * 5)[severity - 1], 11, labels)
      return Features(np.eye(1000)[guesses], labels)

  *others, mce = robustness(Mistaken(), options(corruptions=ALL, severities=(1, 2, 3, 4, 5)), seed=0)
  assert [result.name for result in others] == list(ALL)
  np.testing.assert_allclose(others[0].each, (0.9, 0.8, 0.7, 0.6, 0.5))
  # 1.5 / (5 * 0.886) and 5 / (5 * 0.607), and fifteen corruptions.
  assert mce.name == 'mCE' and mce.each == pytest.approx((0.33860, *[0.0] * 13, 1.64745), abs=1e-5)
  assert mce.value == pytest.approx(0.132403, abs=1e-6)


def test_alexnet_itself_has_mce_one():
  assert corruption_errors({name: [error] * 5 for name, error in ALEXNET_ERRORS.items()}) == pytest.approx([1.0] * 15)


def test_another_number_of_classes_is_refused():
  evaluator = PixelEvaluator(classes=10)
  with pytest.raises(ConfigError, match='classifier has 10 classes, .* the 1000 of ImageNet-1k'):
    robustness(evaluator, options(sets=('imagenet_a',)), seed=0)
  assert not evaluator.calls


def test_all_sets_are_opened_before_anything_is_encoded(put):
  put('imagenet_a', 'test', [(1, 1)])
  evaluator = PixelEvaluator()
  with pytest.raises(ConfigError, match='tfds build imagenet_r '):
    robustness(evaluator, options(sets=('imagenet_a', 'imagenet_r')), seed=0)
  assert not evaluator.calls


@pytest.mark.parametrize('changes, remedy', [
  ({'sets': ('imagenet_b',)}, "sets=.*'imagenet_b' is not one of imagenet_a, "),
  ({'corruptions': ('mist',), 'severities': (1,)}, "corruptions=.*'mist' is not one of gaussian_noise, "),
  ({'corruptions': ('fog',), 'severities': (0,)}, 'severities=.*0 is not one of 1, 2'),
  ({'corruptions': ('fog',)}, 'set both or neither'),
  ({'sets': ('imagenet_a',) * 2}, 'must have no duplicates'),
  ({}, 'must name a set'),
])
def test_options_are_checked(changes, remedy):
  with pytest.raises(ValueError, match=remedy):
    options(**changes)


def test_shipped_config_asks_for_mce():
  chosen = build(Robustness, config.get_config().robustness, 'config.robustness')
  assert chosen.corruptions == ALL and len(chosen.severities) == 5
