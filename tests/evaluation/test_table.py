"""The table that ends a run."""

import pytest

from maskrep.evaluation.result import Result, from_repetitions, heading, render, render_rows

pytestmark = pytest.mark.quick

KNN, RECALL = Result('20 neighbours', 0.9634, metric='knn'), Result('Recall@1', 0.975, metric='recall_at_1')
SHOTS = from_repetitions('1 label per class', (0.7, 0.8), metric='labels_1')
RANK, OWN = Result('rankme', 15.44, unit='', metric='rankme'), Result('top-1', 0.5, metric='accuracy')


def lines(rows) -> list[list[str]]:
  return [line.split() for line in render_rows(rows).splitlines()]


def test_one_row_per_kind_of_features_and_one_column_per_share():
  assert render_rows({'pixels': [KNN, RECALL, SHOTS], 'trained': [RANK, KNN, RECALL, SHOTS]}) == (
    'features        k-NN  1 label(s)/class\n'
    'pixels          96.3        75.0 ± 5.0\n'
    'trained         96.3        75.0 ± 5.0')


def test_recall_is_there_to_be_compared_with_a_classifier():
  assert lines({'pixels': [KNN, RECALL], 'trained': [KNN, RECALL, OWN]}) == [
    ['features', 'k-NN', 'Recall@1', 'classifier'], ['pixels', '96.3', '97.5', '-'],
    ['trained', '96.3', '97.5', '50.0']]
  assert lines({'trained': [KNN, RECALL]}) == [['features', 'k-NN'], ['trained', '96.3']]
  assert lines({'trained': [OWN]}) == [['features', 'classifier'], ['trained', '50.0']]


def test_without_labels_there_is_nothing_to_show():
  assert render_rows({'trained': [RANK]}) == '' == render_rows({})


def test_several_numbers_of_neighbours_and_metrics_of_a_method_have_columns():
  assert [heading(name) for name in ('knn_10', 'labels_5', 'psnr')] == ['10-NN', '5 label(s)/class', 'psnr']


def test_a_protocol_is_shown_line_by_line_and_no_share_is_not_in_per_cent():
  assert render([KNN, RANK, SHOTS]).splitlines() == [
    '20 neighbours       96.34', 'rankme               15.4', '1 label per class  75.00 ± 5.00']
