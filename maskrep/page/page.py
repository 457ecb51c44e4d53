"""One HTML file of one or several runs: no scripts, no other files, no network."""

import base64
from collections.abc import Mapping, Sequence
import math
from pathlib import Path

import jinja2
from markupsafe import Markup

from maskrep.evaluation import report
from maskrep.evaluation.report import Record
from maskrep.evaluation.result import NOTHING, cell, heading
from maskrep.evaluation.verdict import COLLAPSE
from maskrep.page.chart import COLOURS, chart
from maskrep.page.facts import Facts, differing, read
from maskrep.page.pictures import pictures
from maskrep.process.version import __version__

# Section -> its metrics; those of the user's own method are losses, see `sections`.
CURVES = {
  'Losses': ('loss',),
  'Collapse': ('feature_std', 'target_std', 'prototypes_in_use', 'mean_assignment_entropy', 'codes_in_use',
               'perplexity'),
  'Evaluations': (),
  'Optimiser': ('learning_rate', 'weight_decay', 'ema_momentum', 'gradient_norm', 'skipped_in_a_row',
                'skipped_updates'),
  'Speed': ('images_per_second', 'tflops_per_device', 'share_of_peak', 'data_wait_share', 'seconds', 'broken_images'),
}
EVALUATED = 'eval/'
MANY = 3  # runs; of more the details are folded


def written(folders: Sequence[str], records: Sequence[Record]) -> str:
  """The HTML of the runs in folders, each a workdir or the folder of a sweep, of which only its picture is shown.

  Raises:
    RunError: a config cannot be read.
  """
  runs: list[Facts] = []
  shown = {}
  for folder in dict.fromkeys(folders):
    workdirs = report.runs_in(folder)
    sweep = workdirs != [folder]
    runs += [read(Path(each), Path(each).name if sweep and len(folders) == 1 else each) for each in workdirs]
    own = Path(folder) / 'sweep.png'
    if not sweep:
      shown[folder] = pictures(Path(folder))
    elif own.exists():
      shown[folder] = {'The sweep': own.read_bytes()}, ''
  return page(runs, records, shown)


def page(
  runs: Sequence[Facts], records: Sequence[Record], shown: Mapping[str, tuple[Mapping[str, bytes], str]],
) -> str:
  """The HTML.

  Args:
    runs: the runs, in the order of their colours.
    records: the evaluations that count.
    shown: name of a run or of a sweep -> its pictures, caption -> PNG, and why some are missing.
  """
  environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True,
                                   undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
  environment.filters |= {'png': png, 'number': number, 'share': lambda value: f'{100 * value:.1f} %'}
  title = runs[0].name if len(runs) == 1 else f'{len(runs)} runs'
  return environment.get_template('page.html.jinja').render(
    title=title, version=__version__, runs=runs, colours=COLOURS, many=len(runs) > MANY,
    summary=summary(runs) if len(runs) > 1 else None,
    curves=charts(runs), last=last_values(runs), pictures=shown,
    evaluations={name: report.table(group) for name, group in report.by_protocol(records).items()})


def sections(metrics: Sequence[str]) -> dict[str, list[str]]:
  """Section -> metrics, each in one section."""
  place = {metric: section for section, known in CURVES.items() for metric in known}
  found: dict[str, list[str]] = {section: [] for section in CURVES}
  for metric in metrics:
    collapse = metric.removeprefix(EVALUATED) in COLLAPSE
    default = 'Collapse' if collapse else 'Evaluations' if metric.startswith(EVALUATED) else 'Losses'
    found[place.get(metric, default)].append(metric)
  order = {metric: i for known in CURVES.values() for i, metric in enumerate(known)}
  return {section: sorted(names, key=lambda name: order.get(name, len(order))) for section, names in found.items()
          if names}


def charts(runs: Sequence[Facts]) -> dict[str, dict[str, Markup | None]]:
  """Section -> metric -> its chart; None if it was always 0."""
  metrics = list(dict.fromkeys(metric for run in runs for metric in run.curves))
  found = {}
  for section, names in sections(metrics).items():
    for name in names:
      lines = {run.name: run.curves.get(name, ()) for run in runs}
      silent = all(value == 0 for points in lines.values() for _, value in points)
      svg = None if silent else Markup(chart(lines, COLLAPSE.get(name.removeprefix(EVALUATED))))
      found.setdefault(section, {})[name] = svg
  return found


def summary(runs: Sequence[Facts]) -> tuple[list[str], list[list[str]]]:
  """The head and the rows of the table of several runs: how they ended, what they reached, and what differs."""
  fields = differing(runs)
  short = [field.rpartition('.')[2] for field in fields]
  names = [name if short.count(name) == 1 else field for name, field in zip(short, fields, strict=True)]
  metrics = list(dict.fromkeys(metric for run in runs for metric in run.outcome.figures if metric not in COLLAPSE))
  rows = []
  for run in runs:
    figures = [run.outcome.figures.get(metric) for metric in metrics]
    rows.append([
      run.name, run.outcome.state, number(run.step),
      NOTHING if not run.measures else 'COLLAPSED' if run.collapsed else 'no',
      *(NOTHING if figure is None else cell(figure.value, figure.std, figure.unit) for figure in figures),
      NOTHING if run.outcome.images_per_second is None else number(run.outcome.images_per_second),
      NOTHING if run.time.goodput is None else f'{100 * run.time.goodput:.0f} %',
      *(run.config.get(field, NOTHING) for field in fields)])
  return ['run', 'state', 'step', 'collapsed', *map(heading, metrics), 'images/s', 'goodput', *names], rows


def last_values(runs: Sequence[Facts]) -> list[tuple[str, list[str]]]:
  """(metric, its last value in each run)."""
  metrics = list(dict.fromkeys(metric for run in runs for metric in run.curves))
  return [(metric, [number(run.curves[metric][-1][1]) if metric in run.curves else NOTHING for run in runs])
          for names in sections(metrics).values() for metric in names]


def png(content: bytes) -> Markup:
  """The address of a picture that holds the picture itself."""
  return Markup(f'data:image/png;base64,{base64.b64encode(content).decode()}')


def number(value: float) -> str:
  whole = math.isfinite(value) and (abs(value) >= 1000 or value == int(value))
  return f'{value:,.0f}' if whole else f'{value:.4g}'
