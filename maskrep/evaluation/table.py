"""The final table of a run: k-NN and few-label accuracy of the trained encoder beside its baselines."""

from typing import NamedTuple

import numpy as np

from maskrep.evaluation.features import Features
from maskrep.evaluation.metrics.knn import knn_accuracy
from maskrep.evaluation.metrics.logistic import low_shot
from maskrep.evaluation.options import Eval


class Row(NamedTuple):
  """Accuracies in [0, 1] of one kind of features."""

  name: str
  knn: float
  recall_at_1: float
  accuracy: float | None  # of the objective's classifier, if it has one
  low_shot: dict[int, np.ndarray]  # labels per class -> accuracy of each draw


def row(
  name: str, train: Features, test: Features, *, num_classes: int, options: Eval, accuracy: float | None = None
) -> Row:
  """Evaluates features of a labelled training and test split; Recall@1 searches the training split."""
  knn, recall = knn_accuracy(*train, *test, k=options.knn_neighbours, temperature=options.knn_temperature)
  shots = ()
  if options.labels_per_class:
    shots = low_shot(*train, *test, num_classes=num_classes, labels_per_class=options.labels_per_class,
                     draws=options.label_draws)
  return Row(name, knn, recall, accuracy, dict(zip(options.labels_per_class, shots, strict=True)))


def render(rows: list[Row]) -> str:
  """Formats the table as text: percentages, mean and standard deviation over the label draws."""
  counts = list(rows[0].low_shot)
  classified = any(r.accuracy is not None for r in rows)
  head = ''.join(f'{f"{count} label(s)/class":>18}' for count in counts)
  head = f'{"Recall@1":>10}{"classifier":>12}' * classified + head
  lines = [f'{"features":<12}{"k-NN":>8}{head}']
  for r in rows:
    shots = [f'{100 * r.low_shot[count].mean():.1f} ± {100 * r.low_shot[count].std():.1f}' for count in counts]
    accuracy = '-' if r.accuracy is None else f'{100 * r.accuracy:.1f}'
    more = f'{100 * r.recall_at_1:>10.1f}{accuracy:>12}' * classified
    lines.append(f'{r.name:<12}{100 * r.knn:>8.1f}{more}' + ''.join(f'{shot:>18}' for shot in shots))
  return '\n'.join(lines)


def as_record(r: Row) -> dict:
  """Returns a row as plain data, for results.jsonl."""
  accuracy = {} if r.accuracy is None else {'accuracy': r.accuracy}
  shots = {str(count): list(map(float, accuracies)) for count, accuracies in r.low_shot.items()}
  return {'features': r.name, 'knn': r.knn, 'recall_at_1': r.recall_at_1} | accuracy | {'low_shot': shots}
