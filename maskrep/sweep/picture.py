"""The picture of a sweep: a metric, images per second and memory against the masking ratio, one line per encoder."""

from collections.abc import Sequence
import io
import math

from matplotlib.figure import Figure

from maskrep.sweep.outcome import Outcome
from maskrep.sweep.table import Result, columns_grid, metrics, row_of, title_of

HEADLINES = 'accuracy', 'mean_iou', 'knn'  # the first that there is, is drawn


def png(results: Sequence[Result]) -> bytes:
  """The bytes of a PNG file: three panels side by side. Runs without results leave gaps."""
  figure = panels(results)
  file = io.BytesIO()
  figure.savefig(file, format='png', dpi=100)
  return file.getvalue()


def panels(results: Sequence[Result]) -> Figure:
  across = columns_grid(list(results[0][0].values))
  columns = list(dict.fromkeys(run.values[across] for run, _ in results))
  positions = _positions(columns)
  sources = {outcome.memory_source for _, outcome in results if outcome.memory_source}
  metric = next((name for name in (*HEADLINES, *metrics(results)) if name in metrics(results)), HEADLINES[0])
  quantities = ((title_of(results, metric), lambda outcome: _shown(outcome, metric)),
                ('images/s', lambda outcome: outcome.images_per_second),
                (f'memory per device, GB ({" or ".join(sorted(sources)) or "not known"})',
                 lambda outcome: None if outcome.memory_bytes is None else outcome.memory_bytes / 1e9))
  figure = Figure(figsize=(13, 4), layout='constrained')
  for i, (axes, (label, value)) in enumerate(zip(figure.subplots(1, 3), quantities, strict=True)):
    for row in dict.fromkeys(row_of(run) for run, _ in results):
      by_column = {run.values[across]: value(outcome) for run, outcome in results if row_of(run) == row}
      points = sorted((positions[column], math.nan if y is None else y) for column, y in by_column.items())
      axes.plot(*zip(*points, strict=True), marker='o', label=row)
    axes.set(xlabel=across, ylabel=label)
    axes.set_xticks(list(positions.values()), columns)
    if not any(line.get_ydata().size and not all(map(math.isnan, line.get_ydata())) for line in axes.lines):
      axes.set(yticks=[])
      axes.text(0.5, 0.5, 'no results yet', transform=axes.transAxes, ha='center')
    elif i:
      axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    if not i:
      axes.legend()
  return figure


def _shown(outcome: Outcome, metric: str) -> float | None:
  if metric not in outcome.figures:
    return None
  figure = outcome.figures[metric]
  return 100 * figure.value if figure.unit == '%' else figure.value


def _positions(columns: Sequence[str]) -> dict[str, float]:
  """The x coordinate of each value: the value itself or, unless all are numbers, its index."""
  try:
    positions = {column: float(column) for column in columns}
    if all(map(math.isfinite, positions.values())):
      return positions
  except ValueError:  # not a number
    pass
  return {column: float(i) for i, column in enumerate(columns)}
