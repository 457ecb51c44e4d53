"""The table that ends a run: k-NN and few-label accuracy of the trained encoder beside its baselines."""

from typing import NamedTuple

import numpy as np

from maskrep.evaluation.features import Features
from maskrep.evaluation.knn import knn_accuracy
from maskrep.evaluation.logistic import low_shot
from maskrep.evaluation.protocol import Eval


class Row(NamedTuple):
  """Accuracies in [0, 1] of one kind of features."""

  name: str
  knn: float
  low_shot: dict[int, np.ndarray]  # labels per class -> accuracy of each draw


def row(name: str, train: Features, test: Features, *, num_classes: int, options: Eval) -> Row:
  """Judges features of a labelled training and test split."""
  knn = knn_accuracy(*train, *test, k=options.knn_neighbours, temperature=options.knn_temperature)
  shots = low_shot(*train, *test, num_classes=num_classes, labels_per_class=options.labels_per_class,
                   draws=options.label_draws)
  return Row(name, knn, dict(zip(options.labels_per_class, shots, strict=True)))


def render(rows: list[Row]) -> str:
  """The table as text: percentages, mean and standard deviation over the label draws."""
  counts = list(rows[0].low_shot)
  head = ''.join(f'{f"{count} label(s)/class":>18}' for count in counts)
  lines = [f'{"features":<12}{"k-NN":>8}{head}']
  for r in rows:
    shots = [f'{100 * r.low_shot[count].mean():.1f} ± {100 * r.low_shot[count].std():.1f}' for count in counts]
    lines.append(f'{r.name:<12}{100 * r.knn:>8.1f}' + ''.join(f'{shot:>18}' for shot in shots))
  return '\n'.join(lines)


def as_record(r: Row) -> dict:
  """A row as plain data, for results.jsonl."""
  return {'features': r.name, 'knn': r.knn, 'low_shot': {str(n): list(map(float, a)) for n, a in r.low_shot.items()}}
