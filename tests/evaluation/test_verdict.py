"""The verdict that ends a run, on results that were written by hand."""

from pathlib import Path

import pytest

from maskrep.configs import msn_digits, vqgan_digits
from maskrep.evaluation.result import Result
from maskrep.evaluation.verdict import verdict

pytestmark = pytest.mark.quick

LOGGED = [{'step': 50, 'loss': 2.9, 'feature_std': 0.2}, {'step': 100, 'loss': 1.5, 'feature_std': 0.3, 'kl': 0.25}]


def results(knn: float, shots: float, rank: float = 12.0) -> list[Result]:
  return [Result('rankme', rank, unit='', metric='rankme'), Result('20 neighbours', knn, metric='knn'),
          Result('Recall@1', 0.0, metric='recall_at_1'), Result('1 label per class', shots, 0.01, metric='labels_1')]


def lines(rows, logged=LOGGED, config=msn_digits, part='encoder', **changes) -> list[str]:
  config = config.get_config()
  config.update_from_flattened_dict(changes)
  return verdict(Path('runs/my run'), config.to_dict(), rows, logged, part=part).splitlines()


def test_a_run_that_learnt():
  found = lines({'pixels': results(0.9, 0.7)[1:], 'untrained': results(0.6, 0.5), 'trained': results(0.8, 0.75)})
  assert found == [
    'weights     runs/my run/checkpoints, the newest; all commands take the EMA encoder from there',
    'collapse    no: feature_std 0.3 (not below 0.01), rankme 12 (not below 2)',
    'loss        1.5 at step 100, 2.9 at step 50; kl 0.25 of it can still fall, to 0',
    'trained     better than pixels in 1 of 2 figures, not in k-NN 80.0 against 90.0',
    '            better than untrained in 2 of 2 figures: k-NN 80.0 against 60.0, 1 label(s)/class 75.0 against 50.0',
    'WARNING     training did not make the features better than pixels; try more epochs (config.train.epochs), larger '
    'crops (config.views.crop_scale), less masking (config.masking.ratio), another learning rate '
    '(config.optim.learning_rate)',
    "next        maskrep report --workdir='runs/my run' --html=report.html",
    "            maskrep evaluate logistic --workdir='runs/my run'",
    "            maskrep export --workdir='runs/my run' --format=timm --output=encoder.safetensors"]
  assert not any(line.startswith('WARNING') for line in lines(
    {'untrained': results(0.6, 0.5), 'trained': results(0.8, 0.75)}))


def test_worse_than_untrained_is_a_warning():
  found = lines({'untrained': results(0.9, 0.9), 'trained': results(0.9, 0.75)})
  assert 'better than untrained in 0 of 2 figures, not in k-NN 90.0 against 90.0' in found[3]
  assert found[4].startswith('WARNING     training did not make the features better than untrained; try more epochs')


@pytest.mark.parametrize(('rank', 'last'), [
  (1.2, {}), (12.0, {'feature_std': 0.001}), (12.0, {'prototypes_in_use': 1})])
def test_collapse_by_any_measure(rank, last):
  found = lines({'trained': results(0.1, 0.1, rank)}, [LOGGED[0], LOGGED[1] | last])
  assert found[1].startswith('collapse    YES: feature_std') and '(below ' in found[1]
  assert 'useless; try a lower learning rate (config.optim.learning_rate), a longer warm-up' in found[2]


def test_without_labels_baselines_or_metrics():
  found = lines({'trained': results(0, 0)[:1]}, **{'data.eval_split': ''})
  assert found[3] == 'trained     the quality of the features was not measured, as there are no labels'
  assert 'maskrep evaluate collapse' in found[-2]
  assert 'k-NN 80.0, 1 label(s)/class 75.0; nothing to compare with' in lines({'trained': results(0.8, 0.75)})[3]
  assert [line.split()[0] for line in lines({}, [])] == ['weights', 'trained', 'next', 'maskrep', 'maskrep']


def test_a_tokenizer_goes_on_into_the_run_that_needs_it():
  found = lines({}, config=vqgan_digits, part='tokenizer')
  assert "--config.target.weights='runs/my run'" in found[-1] and 'EMA tokenizer' in found[0]
