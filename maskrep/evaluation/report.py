"""The results in evaluations.jsonl of several runs, side by side: one table per protocol, and a picture with curves.

Evaluations during training are not in the tables but among the curves, see `curves`.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import datetime
import io
import json
from pathlib import Path
import re

from matplotlib.figure import Figure

from maskrep.evaluation import curves
from maskrep.evaluation.markdown import markdown_table
from maskrep.evaluation.result import FILE, LATER, NOTHING, TRAINED, TRAINING, Result, cell

# Fields in which the records of a protocol may differ.
COMPARED = 'encoder', 'encoding', 'data', 'settings', 'seed', 'stage', 'step', 'features'
BEFORE = {'stage': LATER, 'step': None, 'features': TRAINED}  # of records of earlier versions, which lack these
RATIO = re.compile(r'ratio (\d*\.?\d+)')


@dataclasses.dataclass(frozen=True)
class Record:
  """One line of a file: the results of a protocol for an encoder."""

  workdir: str
  protocol: str
  time: datetime.datetime
  seconds: float | None
  results: tuple[Result, ...]
  fields: dict[str, str]  # dotted name -> value of everything the results depend on

  @property
  def key(self) -> tuple:
    """The key that a later record must share to replace this one."""
    fields = {name: value for name, value in self.fields.items()
              if not name.startswith('encoder.') or name == 'encoder.digest'}
    return self.workdir, self.protocol, json.dumps(fields, sort_keys=True)


def read(workdir: str) -> tuple[list[Record], list[int]]:
  """Returns the records of a workdir, except those of training, in the order written, and the numbers of damaged lines.
  """
  path = Path(workdir) / FILE
  records, damaged = [], []
  lines = path.read_text(errors='replace').splitlines() if path.exists() else ()
  for number, line in enumerate(lines, 1):
    try:
      record = _record(workdir, json.loads(line))
      records += [record] if record.fields['stage'] != TRAINING else []
    except (ValueError, TypeError, KeyError, AttributeError):  # not JSON, or JSON of something else
      damaged.append(number)
  return records, damaged


def runs_in(folder: str) -> list[str]:
  """The workdirs of the runs of a sweep; of any other folder itself."""
  found = sorted(path.parent for path in Path(folder).glob('*/config.json'))
  return [folder] if not found or (Path(folder) / 'config.json').exists() else [str(path) for path in found]


def newest(records: Sequence[Record]) -> list[Record]:
  """Removes records that a later one replaces."""
  last = {}
  for record in records:
    if record.key not in last or record.time >= last[record.key].time:
      last[record.key] = record
  return [record for record in records if last[record.key] is record]


def tables(records: Sequence[Record]) -> str:
  """Formats one Markdown table per protocol, with one row per result."""
  return '\n\n'.join(f'## {protocol}\n\n{markdown_table(*table(group))}'
                     for protocol, group in by_protocol(records).items())


def table(group: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
  """The head and the rows of the table of one protocol."""
  differing = differences(group)
  rows = [[result.name, cell(result.value, result.std, result.unit),
           *(record.fields.get(field, NOTHING) for field in differing.values()),
           NOTHING if record.seconds is None else f'{record.seconds:.1f}', f'{record.time:%Y-%m-%d %H:%M:%S}']
          for record in group for result in record.results]
  units = {result.unit for record in group for result in record.results}
  return ['result', 'value in %' if units == {'%'} else 'value', *differing, 'seconds', 'when'], rows


def by_protocol(records: Sequence[Record]) -> dict[str, list[Record]]:
  groups = {}
  for record in records:
    groups.setdefault(record.protocol, []).append(record)
  return groups


def differences(records: Sequence[Record]) -> dict[str, str]:
  """Returns {heading: field} for the fields in which records differ; a heading is short if that is unambiguous.

  Records that have a field must differ in it: the records of a run lack fields that maskrep evaluate adds.
  """
  fields = list(dict.fromkeys(field for record in records for field in record.fields))
  values = {field: {record.fields[field] for record in records if field in record.fields} for field in fields}
  differing = [field for field in fields if len(values[field]) > 1]
  if sum(field.startswith(('workdir', 'encoder.', 'stage', 'features')) for field in differing) > 1:
    differing = [field for field in differing if field != 'encoder.digest']  # the other fields name the encoder
  short = [field.split('.')[-1] for field in differing]
  return {name if short.count(name) == 1 else field: field for name, field in zip(short, differing, strict=True)}


def png(records: Sequence[Record], runs: Mapping[str, curves.Curves]) -> bytes:
  file = io.BytesIO()
  picture(records, runs).savefig(file, format='png', dpi=100)
  return file.getvalue()


def picture(records: Sequence[Record], runs: Mapping[str, curves.Curves]) -> Figure:
  """The curves of runs, by name, and under them one panel per protocol of their records.

  In a panel each record has one colour: bars per result, or lines if results are named by a ratio. Only shares are
  drawn.
  """
  panels, rows = _panels(records), curves.rows(runs)
  heights = [height for height in (2.6 * rows, 3.2 * len(panels)) if height]
  figure = Figure(figsize=(9, sum(heights)), layout='constrained')
  places = list(figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0])
  if rows:
    curves.draw(places.pop(0), runs)
  if panels:
    for axes, (protocol, labels, chosen, draw) in zip(
        places[0].subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True):
      draw(axes, labels, chosen)
      axes.set(title=protocol, ylabel='%')
      axes.set_ylim(bottom=0)
      axes.grid(axis='y', alpha=0.3)
      axes.legend(fontsize='small')
  return figure


def _panels(records: Sequence[Record]) -> list[tuple]:
  """Title, labels, results and function of each panel."""
  panels = []
  for protocol, group in by_protocol(records).items():
    labels = [label(record, differences(group)) for record in group]
    for ratios in (False, True):
      chosen = [[result[:3] for result in record.results
                 if result.unit == '%' and bool(RATIO.fullmatch(result.name)) == ratios] for record in group]
      if any(chosen):
        panels.append((protocol, labels, chosen, _lines if ratios else _bars))
  return panels


def label(record: Record, differing: dict[str, str]) -> str:
  return ', '.join(f'{name}={record.fields.get(field, NOTHING)}' for name, field in differing.items()) or record.workdir


def _bars(axes, labels, chosen) -> None:
  names = list(dict.fromkeys(name for results in chosen for name, *_ in results))
  width = 0.8 / len(chosen)
  for i, (text, results) in enumerate(zip(labels, chosen, strict=True)):
    positions = [names.index(name) + (i - (len(chosen) - 1) / 2) * width for name, *_ in results]
    axes.bar(positions, [100 * value for _, value, _ in results], width, label=text, capsize=3,
             yerr=[100 * (std or 0) for *_, std in results] if any(std for *_, std in results) else None)
  axes.set_xticks(range(len(names)), names)


def _lines(axes, labels, chosen) -> None:
  for text, results in zip(labels, chosen, strict=True):
    points = sorted((float(ratio[1]), 100 * value, 100 * (std or 0)) for name, value, std in results
                    if (ratio := RATIO.fullmatch(name)))
    if points:
      ratios, values, deviations = zip(*points, strict=True)
      axes.errorbar(ratios, values, deviations if any(deviations) else None, marker='o', capsize=3, label=text)
  axes.set_xlabel('ratio')


def _record(workdir: str, line: dict) -> Record:
  results = tuple(Result(str(each['name']), float(each['value']),
                         None if each.get('std') is None else float(each['std']), unit=str(each.get('unit', '%')))
                  for each in line['figures'])
  if not results:
    raise ValueError('no results')
  fields = {'workdir': workdir}
  for name in COMPARED:
    fields |= _flat(name, (BEFORE | line)[name])
  fields.pop('encoder.workdir', None)  # the path at that time; `workdir` is the folder of the record
  seconds = line.get('seconds')
  return Record(workdir, str(line['protocol']), datetime.datetime.fromisoformat(line['time']).astimezone(),
                None if seconds is None else float(seconds), results, fields)


def _flat(name: str, value) -> dict[str, str]:
  if isinstance(value, dict):
    return {key: text for part, inner in value.items() for key, text in _flat(f'{name}.{part}', inner).items()}
  return {name: value if isinstance(value, str) else json.dumps(value)}
