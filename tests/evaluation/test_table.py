"""The table that ends a run."""

import numpy as np

from maskrep.configs import msn_digits
from maskrep.evaluation import table
from maskrep.evaluation.features import Features
from maskrep.evaluation.options import Eval
from maskrep.schema import build


def test_no_few_label_columns_where_none_are_asked_for():
  rng = np.random.default_rng(0)
  labels = np.arange(80, dtype=np.int32) % 2
  split = Features((rng.normal(size=(80, 3)) + 99 * (2 * labels[:, None] - 1)).astype(np.float32), labels)
  config = msn_digits.get_config().eval
  config.labels_per_class = ()
  options = build(Eval, config, 'config.eval')
  row = table.row('trained', split, split, num_classes=2, options=options, accuracy=0.5)
  assert row.knn == 1 and row.low_shot == {} and table.as_record(row)['low_shot'] == {}
  assert [line.split() for line in table.render([row]).splitlines()] == [
    ['features', 'k-NN', 'Recall@1', 'classifier'], ['trained', '100.0', '100.0', '50.0']]
