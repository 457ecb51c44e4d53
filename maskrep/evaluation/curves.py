"""Curves of runs, from their metrics.jsonl: one panel per metric, one line per run."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import SubFigure

from maskrep.evaluation.markdown import markdown_table
from maskrep.evaluation.result import NOTHING
from maskrep.workdir.files import read_json

SHOWN = {'loss': 'loss', 'learning_rate': 'learning rate', 'images_per_second': 'images/s',
         'feature_std': 'feature_std'}  # metric -> title; those of evaluations are shown too
COLUMNS = 3  # panels side by side

Curves = dict[str, list[tuple[int, float]]]  # title -> (step, value)


def read(workdir: str) -> Curves:
  """Returns the curves of a run; {} if it has logged nothing yet."""
  records, _ = read_json(Path(workdir) / 'metrics.jsonl')
  found = {}
  for record in records:
    for metric, value in record.items():
      if metric in SHOWN or metric.startswith('eval/'):
        found.setdefault(SHOWN.get(metric, metric), []).append((record['step'], value))
  order = list(SHOWN.values())
  return dict(sorted(found.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))


def table(runs: Mapping[str, Curves]) -> str:
  """Formats a Markdown table of the last value of each curve, one row per run."""
  names = titles(runs)
  rows = [[run, str(max(points[-1][0] for points in curves.values())),
           *(f'{curves[name][-1][1]:.4g}' if name in curves else NOTHING for name in names)]
          for run, curves in runs.items()]
  return markdown_table(('run', 'step', *names), rows)


def titles(runs: Mapping[str, Curves]) -> list[str]:
  """The titles of the panels, in order."""
  return list(dict.fromkeys(title for curves in runs.values() for title in curves))


def rows(runs: Mapping[str, Curves]) -> int:
  """The number of rows of panels."""
  return -(-len(titles(runs)) // COLUMNS)


def draw(figure: SubFigure, runs: Mapping[str, Curves]) -> None:
  """Draws one panel per title; a run without that metric has no line in it."""
  names = titles(runs)
  panels = figure.subplots(rows(runs), COLUMNS, squeeze=False).ravel()
  for axes, name in zip(panels, names, strict=False):
    for i, (run, curves) in enumerate(runs.items()):
      points = curves.get(name, [])
      axes.plot(*zip(*points, strict=True) if points else ([], []), color=f'C{i}', label=run,
                marker='.' if len(points) < 20 else None)
    axes.set_title(name, fontsize='medium')
    axes.set_xlabel('step', fontsize='small')
    axes.grid(alpha=0.3)
  for axes in panels[len(names):]:
    axes.remove()
  panels[0].legend(fontsize='x-small')
