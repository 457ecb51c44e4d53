"""Tasks are classified by logistic regression, and their results are averaged by group."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds

from maskrep.configs.evaluation import transfer as config
from maskrep.data.sources.tasks import TASKS, VTAB
from maskrep.errors import ConfigError
from maskrep.evaluation.features import Features
from maskrep.evaluation.protocols import logistic
from maskrep.evaluation.protocols import transfer as protocol
from maskrep.evaluation.protocols.transfer import Transfer, transfer
from maskrep.evaluation.result import Result
from maskrep.schema import build
from tests.support.evaluator import PixelEvaluator
from tests.support.pictures import encode, prepare


def options(*tasks: str, **changes) -> Transfer:
  return Transfer(**{'tasks': tasks, 'l2s': (0.01, 100.0), 'folds': 2} | changes)


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  return tmp_path


def coloured(*colour: int) -> io.BytesIO:
  return io.BytesIO(encode(np.full((4, 4, 3), colour, np.uint8), 'PNG'))


def put(data_dir, dataset: str, splits: dict[str, list[dict]]) -> None:
  """Prepares records of images, with tfds's own features."""
  features = dict(tfds.builder(dataset, data_dir=data_dir).info.features.items())
  prepare(data_dir, features, splits, name=dataset)


def cifar(rows: list[tuple[tuple[int, int, int], int]]) -> list[dict]:
  return [{'id': str(i), 'image': coloured(*colour), 'label': label} for i, (colour, label) in enumerate(rows)]


def test_classes_are_learned_on_the_training_split_and_evaluated_on_the_test_split(data_dir):
  red, green, blue = (200, 0, 9), (0, 200, 9), (9, 0, 200)
  put(data_dir, 'cifar10', {
    'train': cifar([(red, 4), (green, 7), (blue, 0)] * 4),
    'test': cifar([(red, 4), (green, 7), (blue, 0), (blue, 1)])})
  evaluator = PixelEvaluator()
  assert transfer(evaluator, options('cifar10'), seed=0) == [Result('cifar10', 0.75, note='l2 100')]
  assert [whole for _, _, whole in evaluator.calls] == [False, False], 'a centre crop: MSN, A.5.1'


def test_the_penalty_is_that_of_cross_validation_on_the_training_split(data_dir, monkeypatch):
  put(data_dir, 'cifar10', {'train': cifar([((i, 9, 9), i % 2) for i in range(6)]), 'test': cifar([((1, 9, 9), 1)])})
  seen, fit = [], logistic.fit

  def cross_validated(features, labels, *, num_classes, l2s, folds, seed, intercept):
    seen.append((len(features), sorted(map(int, labels)), num_classes, l2s, folds, seed))
    return l2s[1]

  monkeypatch.setattr(logistic, 'cross_validated', cross_validated, raising=False)
  monkeypatch.setattr(logistic, 'fit', lambda *given, num_classes, l2, intercept: seen.append(l2) or fit(
    *given, num_classes=num_classes, l2=l2, intercept=intercept))
  transfer(PixelEvaluator(), options('cifar10', l2s=(1.0, 3.0), folds=3), seed=5)
  assert seen == [(6, [0] * 3 + [1] * 3, 10, (1.0, 3.0), 3, 5), 3.0]


def test_means_are_of_whole_groups(monkeypatch):
  monkeypatch.setattr(protocol, '_open', lambda *task: None)
  monkeypatch.setattr(
    protocol, '_evaluate', lambda evaluator, name, options, seed: Result(name, list(VTAB).index(name) / 18))
  *tasks, natural, specialized, structured, vtab = transfer(PixelEvaluator(), options(*reversed(VTAB)), seed=0)
  assert {result.name for result in tasks} == set(VTAB) and len(tasks) == 19
  assert [f.name for f in (natural, specialized, structured, vtab)] == [
    'vtab_natural', 'vtab_specialized', 'vtab_structured', 'vtab']
  found = natural.value, specialized.value, structured.value, vtab.value
  assert found == pytest.approx((3 / 18, 8.5 / 18, 14.5 / 18, 0.5))
  assert vtab.each == tuple(i / 18 for i in range(19))
  some = transfer(PixelEvaluator(), options(*list(VTAB)[:10]), seed=0)
  assert [result.name for result in some[10:]] == ['vtab_natural'], 'a mean of some specialized tasks is not given'


def test_all_data_sets_are_opened_before_anything_is_encoded(data_dir):
  put(data_dir, 'cifar10', {split: cifar([((1, 1, 1), 1)]) for split in ('train', 'test')})
  evaluator = PixelEvaluator()
  with pytest.raises(ConfigError, match='tfds build diabetic_retinopathy_detection/btgraham-300 '):
    transfer(evaluator, options('cifar10', 'vtab_retinopathy'), seed=0)
  assert not evaluator.calls


def test_examples_without_a_label_are_left_out():
  class Partial(PixelEvaluator):
    def features(self, source, ratio: float = 0.0, whole: bool = False) -> Features:
      return Features(np.arange(6.0).reshape(3, 2), np.array([2, -1, 0]))

  features, labels = protocol._features(Partial(), TASKS['cifar10'], None)
  assert features.tolist() == [[0, 1], [4, 5]] and labels.tolist() == [2, 0]


@pytest.mark.parametrize('changes, remedy', [
  ({'tasks': ('cifar1O',)}, "tasks=.*'cifar1O' is not one of the tasks; nearest names: cifar10"),
  ({'tasks': ()}, 'must be at least one value'),
  ({'tasks': ('cifar10', 'cifar10')}, "must name 'cifar10' once"),
  ({'l2s': (0.0, 1.0)}, 'l2s=.*above 0'),
  ({'l2s': ()}, 'l2s=.*at least one value'),
  ({'folds': 1}, 'folds=1: must be at least 2'),
])
def test_options_are_checked(changes, remedy):
  with pytest.raises(ValueError, match=remedy):
    Transfer(**{'tasks': ('cifar10',), 'l2s': (1.0,), 'folds': 2} | changes)


def test_the_shipped_config():
  options, data = build(Transfer, config.get_config().transfer, 'config.transfer'), config.get_config().data
  assert data.source == f'task:{options.tasks[0]}' and {data.train_split, data.eval_split} == {'train', 'test'}
