"""The results of an evaluation: their records in `evaluations.jsonl`, and their display."""

from collections.abc import Mapping, Sequence
from pathlib import Path
import re
from typing import NamedTuple

import numpy as np

from maskrep.workdir.files import append_json, read_json

FILE = 'evaluations.jsonl'
# When a record was made: while a run trains, when it ends, or later, by maskrep evaluate.
TRAINING, FINAL, LATER = 'training', 'final', 'later'
TRAINED = 'trained'  # the kind of features that is not a baseline
HEADINGS = {'knn': 'k-NN', 'recall_at_1': 'Recall@1', 'accuracy': 'classifier', 'mean_iou': 'mean IoU',
            'pixel_accuracy': 'pixel accuracy', 'logistic': 'all labels'}
NOTHING = '-'


class Result(NamedTuple):
  """One number.

  Attributes:
    value: a share in [0, 1], shown in per cent, unless `unit` is ''.
    std: standard deviation over the repetitions in `each`, or over images.
    note: choices made by the protocol, such as hyper-parameters.
    metric: the name of its curve and of its column in the tables of runs and sweeps, of letters, digits and _; '' if it
      has neither.
  """

  name: str
  value: float
  std: float | None = None
  each: tuple[float, ...] = ()
  note: str = ''
  unit: str = '%'
  metric: str = ''


def from_repetitions(name: str, values, note: str = '', metric: str = '') -> Result:
  """The result of repetitions: their mean, standard deviation (with divisor n) and values."""
  values = np.asarray(values, float)
  return Result(name, float(values.mean()), float(values.std()), tuple(map(float, values)), note, metric=metric)


def heading(metric: str) -> str:
  """The heading of a metric's column: '5 label(s)/class' of 'labels_5'."""
  for pattern, text in ((r'labels_(\d+)', r'\1 label(s)/class'), (r'knn_(\d+)', r'\1-NN')):
    if re.fullmatch(pattern, metric):
      return re.sub(pattern, text, metric)
  return HEADINGS.get(metric, metric)


def cell(value: float, std: float | None = None, unit: str = '%', digits: int = 1) -> str:
  """A value and its standard deviation as text, in per cent, or with three significant digits if it has no unit."""
  values = (value,) if std is None else (value, std)
  return ' ± '.join(f'{100 * each:.{digits}f}' if unit == '%' else f'{each:.3g}' for each in values)


def render(results: Sequence[Result]) -> str:
  """Formats one line per result."""
  width = max(len(result.name) for result in results)
  return '\n'.join(f'{result.name:<{width}}  {cell(*result[1:3], result.unit, digits=2):>6}' for result in results)


def render_rows(rows: Mapping[str, Sequence[Result]]) -> str:
  """Formats the final table of a run: one line per kind of features, one column per metric in per cent.

  Recall@1 is shown if the run trains a classifier, to compare the two. '' if there is nothing to show.
  """
  cells = {name: {result.metric: cell(*result[1:3]) for result in results if result.metric and result.unit == '%'}
           for name, results in rows.items()}
  metrics = list(dict.fromkeys(metric for row in cells.values() for metric in row))
  if 'accuracy' in metrics:
    metrics.remove('accuracy')
    metrics.insert(metrics.index('recall_at_1') + 1 if 'recall_at_1' in metrics else 0, 'accuracy')
  elif 'recall_at_1' in metrics:
    metrics.remove('recall_at_1')
  if not metrics:
    return ''
  lines = [f'{name:<12}' for name in ('features', *cells)]
  for metric in metrics:
    column = [heading(metric), *(row.get(metric, NOTHING) for row in cells.values())]
    width = max(8, *(len(text) + 2 for text in column))
    lines = [line + f'{text:>{width}}' for line, text in zip(lines, column, strict=True)]
  return '\n'.join(lines)


def append(workdir: Path, record: Mapping, results: Sequence[Result], *, write: bool = True) -> dict:
  """Appends a record, plain data, with its results, if this process is to `write`; returns it."""
  whole = dict(record) | {'figures': [result._asdict() for result in results]}
  if write:
    append_json(workdir / FILE, whole)
  return whole


def results_of(record: Mapping) -> list[Result]:
  """The results in a record; earlier versions wrote fewer fields."""
  return [Result(**(figure | {'each': tuple(figure.get('each', ()))})) for figure in record['figures']]


def final_records(workdir: Path) -> dict[str, list[dict]]:
  """Returns kind of features -> records of all protocols, from the last time the run in this folder was completed."""
  last = {}
  for record in read_json(workdir / FILE)[0]:
    if record.get('stage') == FINAL:
      records = last.setdefault(record['features'], [])
      if records and records[-1]['time'] != record['time']:
        records.clear()
      records.append(record)
  return last


def final_results(workdir: Path) -> dict[str, list[Result]]:
  """As `final_records`, but the results in them."""
  return {features: [result for record in records for result in results_of(record)]
          for features, records in final_records(workdir).items()}
