"""UnED has one index of all domains: a query is wrong if its nearest image is of another domain."""

import dataclasses

import pytest

from maskrep.configs.evaluation import uned as config
from maskrep.errors import ConfigError
from maskrep.evaluation.protocols.uned import Domains, uned
from maskrep.evaluation.result import Result
from maskrep.schema import build
from tests.support.evaluator import DATA, PixelEvaluator
from tests.support.pictures import put_uned


@pytest.fixture
def evaluator(tmp_path):
  # The first two cars are the nearest to each other. To the third, green, the nearest is the first image of Met's
  # index, which has the same number of a class, and so it is to the fourth.
  put_uned(tmp_path, 'cars', 'test', [
    (b'broken', 1), ((200, 0, 0), 1), ((200, 20, 0), 1), ((0, 200, 0), 2), ((0, 190, 40), 2)])
  put_uned(tmp_path, 'met', 'index', [((0, 200, 1), 2), ((0, 0, 200), 7)])
  # The nearest are Met's second, the first car, and Met's second again, which has one of the query's two classes.
  put_uned(tmp_path, 'met', 'test', [((0, 10, 200), 7), ((200, 1, 0), [5, 1]), ((5, 0, 200), [9, 7])])
  return PixelEvaluator(data=dataclasses.replace(DATA, source=f'uned:{tmp_path}'))


def test_the_index_is_joint(evaluator):
  assert uned(evaluator, Domains(domains=('cars', 'met')), seed=0) == [
    Result('cars', 2 / 4), Result('met', 2 / 3), Result('mean', pytest.approx((2 / 4 + 2 / 3) / 2))]
  assert len(evaluator.calls) == 3, 'a list is encoded once'
  assert [whole for *_, whole in evaluator.calls] == [False] * 3, 'a centre crop'
  in_other_order = uned(evaluator, Domains(domains=('met', 'cars')), seed=0)
  assert [result.value for result in in_other_order[:2]] == [2 / 3, 2 / 4]


def test_a_domain_by_itself(evaluator):
  assert uned(evaluator, Domains(domains=('cars',)), seed=0) == [Result('cars', 1.0), Result('mean', 1.0)]


def test_all_lists_are_opened_before_anything_is_encoded(evaluator):
  with pytest.raises(ConfigError, match='sop.test.json cannot be read'):
    uned(evaluator, Domains(domains=('cars', 'sop')), seed=0)
  other = dataclasses.replace(evaluator, data=dataclasses.replace(DATA, source='digits', eval_split='test'))
  with pytest.raises(ConfigError):
    uned(other, Domains(domains=('cars',)), seed=0)
  assert not evaluator.calls


@pytest.mark.parametrize('domains, remedy', [
  (('car',), 'each must be one of food2k, cars, sop'), ((), 'at least one'), (('cars', 'cars'), 'no duplicates')])
def test_options_are_checked(domains, remedy):
  with pytest.raises(ValueError, match=remedy):
    Domains(domains=domains)


def test_the_shipped_config_is_the_benchmark():
  shipped = config.get_config()
  assert len(build(Domains, shipped.uned, 'config.uned').domains) == 8 and shipped.encoding.crop_fraction == 1
