"""The tables of a sweep, in the layout of MSN's Tables 8 and 10 (arXiv:2204.07141, section 5.4).

Each metric by encoder and masking ratio, then images per second and memory by masking ratio.
"""

from collections.abc import Callable, Sequence
import csv
import io

from maskrep.evaluation.markdown import markdown_table
from maskrep.evaluation.result import NOTHING, cell, heading
from maskrep.sweep.grid import Run
from maskrep.sweep.outcome import Outcome

Result = tuple[Run, Outcome]


def columns_grid(names: Sequence[str]) -> str:
  """Returns the grid whose values are the columns: the first that is a ratio, else the last."""
  return next((name for name in names if name.split('.')[-1].endswith('ratio')), names[-1])


def row_of(run: Run) -> str:
  """Returns a run's row in the tables, and line in the picture: all its values except the column's."""
  across = columns_grid(list(run.values))
  rest = {name: value for name, value in run.values.items() if name != across}
  if list(rest) == ['encoder']:
    return rest['encoder']
  return ', '.join(f'{name}={value}' for name, value in rest.items()) or run.config['method']


def metrics(results: Sequence[Result]) -> list[str]:
  """Returns the metrics that any run has, in order of first occurrence."""
  return list(dict.fromkeys(metric for _, outcome in results for metric in outcome.figures))


def as_csv(results: Sequence[Result]) -> str:
  """One row per run; shares are in [0, 1], and unknown values are '-'."""
  columns = {}  # name -> (metric, field of its result)
  for metric in metrics(results):
    repeated = any(outcome.figures[metric].std is not None for _, outcome in results if metric in outcome.figures)
    columns |= {f'{metric}_mean': (metric, 'value'), f'{metric}_std': (metric, 'std')} if repeated else {
      metric: (metric, 'value')}
  file = io.StringIO()
  writer = csv.writer(file, lineterminator='\n')
  writer.writerow(['run', *results[0][0].values, 'state', 'exit_code', 'reason', *columns, 'images_per_second',
                   'memory_bytes', 'memory_source', 'devices'])
  for run, outcome in results:
    figures = [getattr(outcome.figures[metric], field) if metric in outcome.figures else None
               for metric, field in columns.values()]
    cells = [outcome.exit_code, outcome.reason or None, *figures, outcome.images_per_second,
             outcome.memory_bytes, outcome.memory_source or None, outcome.devices or None]
    writer.writerow([run.name, *run.values.values(), outcome.state,
                     *(NOTHING if cell is None else cell for cell in cells)])
  return file.getvalue()


def as_markdown(results: Sequence[Result], title: str) -> str:
  across = columns_grid(list(results[0][0].values))
  done = sum(outcome.state == 'finished' for _, outcome in results)
  parts = [f'# {title}', f'{done} of {len(results)} runs are finished. Columns: {across}.']

  def grid(heading: str, *cells: tuple[str, Callable[[Outcome], str]]):
    parts.extend([f'## {heading}', _grid(results, across, cells)])

  for metric in metrics(results):
    grid(title_of(results, metric), ('', lambda outcome, metric=metric: _figure(outcome, metric)))
  grid('Speed and memory', ('images/s', lambda outcome: _number(outcome.images_per_second)),
       ('memory per device', _memory))
  unfinished = [[run.name, outcome.state, NOTHING if outcome.exit_code is None else str(outcome.exit_code),
                 outcome.reason or NOTHING] for run, outcome in results if outcome.state != 'finished']
  if unfinished:
    parts += ['## Not finished', markdown_table(('run', 'state', 'exit code', 'reason'), unfinished, names=4)]
  return '\n\n'.join(parts) + '\n'


def _grid(results: Sequence[Result], across: str, cells: Sequence[tuple[str, Callable[[Outcome], str]]]) -> str:
  """One row per `row_of`, one column per value of the grid `across`; a run without results shows its state instead."""
  columns = list(dict.fromkeys(run.values[across] for run, _ in results))
  rows = list(dict.fromkeys(row_of(run) for run, _ in results))
  by_cell = {(row_of(run), run.values[across]): outcome for run, outcome in results}
  lines = [[f'{row}, {name}' if name else row, *(_cell(by_cell[row, column], show) for column in columns)]
           for row in rows for name, show in cells]
  return markdown_table(('', *columns), lines)


def _cell(outcome: Outcome, show: Callable[[Outcome], str]) -> str:
  if outcome.state == 'finished':
    return show(outcome)
  if outcome.state == 'failed':
    return f'failed ({outcome.exit_code})'
  return NOTHING if outcome.state == 'not started' else outcome.state


def title_of(results: Sequence[Result], metric: str) -> str:
  """The title of a metric's table or axis, with its unit."""
  unit = next((outcome.figures[metric].unit for _, outcome in results if metric in outcome.figures), '')
  return f'{heading(metric)}{f", in {unit}" if unit else ""}'


def _figure(outcome: Outcome, metric: str) -> str:
  if metric not in outcome.figures:
    return NOTHING
  figure = outcome.figures[metric]
  return cell(figure.value, figure.std, figure.unit)


def _number(value: float | None) -> str:
  return NOTHING if value is None else f'{value:.3g}' if value < 100 else f'{value:.0f}'


def _memory(outcome: Outcome) -> str:
  if outcome.memory_bytes is None:
    return NOTHING
  size, unit = (outcome.memory_bytes / 1e9, 'GB') if outcome.memory_bytes >= 1e8 else (outcome.memory_bytes / 1e6, 'MB')
  return f'{size:.3g} {unit}{" (compiled)" if outcome.memory_source == "compiled" else ""}'
