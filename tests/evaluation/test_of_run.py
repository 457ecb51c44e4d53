"""The evaluations of a run: what is judged when, the records, and what the rest reads of them."""

import dataclasses
import json

from ml_collections import ConfigDict
import numpy as np
import pytest

from maskrep.configs import mim_digits, msn_digits
from maskrep.configs.evaluation import segmentation
from maskrep.devices.mesh import make_mesh
from maskrep.evaluation.of_run import RunEvaluator, rows, scalars
from maskrep.evaluation.result import append, final_records, final_results, results_of
from maskrep.experiment.experiment import Experiment
from maskrep.sweep.grid import Run
from maskrep.sweep.outcome import Outcome
from maskrep.sweep.table import as_csv, as_markdown
from tests.support.stored import first_state
from tests.support.tiny import completed, shrink

MIM = {'target.kind': 'pixels', 'eval.max_train_examples': 400, 'eval.batch_size': 120}


def evaluator(config: ConfigDict, **changes):
  """The evaluator of a tiny run, and its first state."""
  config = shrink(config)
  config.update_from_flattened_dict(changes)
  found, state = first_state(config)
  experiment: Experiment = found.experiment
  return RunEvaluator(
    objective=experiment.objective, options=experiment.eval, config=experiment.config, train_source=found.loader.source,
    eval_source=found.eval_source, data=experiment.data, seed=0, dtype=experiment.dtype, mesh=make_mesh()), state


@pytest.fixture(scope='module')
def classifier():
  return evaluator(mim_digits.get_config(), **MIM, **{'eval.baselines': ('pixels', 'untrained')})


def test_what_is_cheap_is_judged_during_training(classifier):
  judge, state = classifier
  found = judge.during(state)
  assert [(each.record['protocol'], each.record['stage'], each.record['features']) for each in found] == [
    (protocol, 'training', 'trained') for protocol in ('collapse', 'knn', 'predictions')]
  assert scalars(found).keys() == {'eval/feature_std', 'eval/rankme', 'eval/knn', 'eval/recall_at_1', 'eval/accuracy'}
  assert all(json.dumps(each.record) for each in found)
  compiled = dict(judge._evaluator.compiled)
  later = judge.during(state.replace(step=state.step + 5, ema_params=state.params))
  assert judge._evaluator.compiled == compiled and later[0].record['step'] == 5


def test_all_is_judged_at_the_end_beside_the_baselines_and_a_sweep_shows_it(classifier, tmp_path):
  """The untrained encoder is the one that was drawn at the start: of a state without steps, both rows are equal."""
  judge, state = classifier
  found = judge.final(state)
  for each in found:
    append(tmp_path, each.record, each.results)
  by_features = {name: [result.metric for result in results] for name, results in rows(found).items()}
  shown = ['knn', 'recall_at_1', 'labels_1']
  assert by_features == {'pixels': shown, 'untrained': ['feature_std', 'rankme', *shown],
                         'trained': ['feature_std', 'rankme', *shown, 'accuracy']}
  assert final_results(tmp_path) == rows(found)
  assert final_results(tmp_path)['untrained'] == final_results(tmp_path)['trained'][:-1]
  accuracy = final_results(tmp_path)['trained'][-1]
  outcome = Outcome(state='finished', figures={each.metric: each for each in final_results(tmp_path)['trained']})
  run = Run(workdir=tmp_path, values={'seed': '0'}, arguments=(), config=dict(judge.config))
  assert f'{100 * accuracy.value:.1f}' in as_markdown([(run, outcome)], 'x').split('## classifier')[1]
  assert f',{accuracy.value},' in as_csv([(run, outcome)])


def test_an_end_that_was_cut_off_and_made_again_counts_once(tmp_path, classifier):
  judge, state = classifier
  old = {'stage': 'final', 'features': 'trained', 'time': '2026-01-01T00:00:00+0000'}
  knn = next(each for each in judge.during(state) if each.record['protocol'] == 'knn')
  append(tmp_path, old, [knn.results[0]._replace(value=0.125), knn.results[1]._replace(metric='gone')])
  append(tmp_path, knn.record | {'stage': 'final'}, knn.results)
  assert final_results(tmp_path) == {'trained': knn.results}
  assert [each['time'] for each in final_records(tmp_path)['trained']] == [knn.record['time']]
  assert results_of({'figures': [{'name': 'x', 'value': 1.0, 'std': None, 'each': [], 'note': ''}]})[0].unit == '%'


def test_without_labels_only_what_needs_none_is_judged():
  judge, state = evaluator(msn_digits.get_config(), **{'data.eval_split': '', 'eval.max_train_examples': 64})
  assert rows(judge.final(state)).keys() == {'trained'}
  assert [each.record['protocol'] for each in judge.final(state)] == ['collapse']


def test_masks_are_drawn_for_a_state_as_for_a_stored_encoder():
  judge, state = evaluator(msn_digits.get_config())
  masked = judge._trained(state)
  whole = masked.features(masked.eval).features
  assert masked.patch_counts(0.5) == (8, 16)
  assert np.abs(masked.features(masked.eval, 0.5).features - whole).max() > 1e-3
  np.testing.assert_array_equal(masked.features(masked.eval, 0.0).features, whole)


def test_segmentation_ends_in_its_mean_iou():
  judge, state = evaluator(completed(segmentation.get_config()), **{'eval.max_train_examples': 8})
  small = dataclasses.replace(judge, eval_source=judge.train_source, options=dataclasses.replace(
    judge.options, protocols=()))
  assert scalars(small.final(state)).keys() == {'eval/mean_iou', 'eval/pixel_accuracy'}
