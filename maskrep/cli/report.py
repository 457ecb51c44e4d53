"""Compares the curves and evaluations of runs: as tables, as a picture, and as a page for a browser.

The page is one file that needs no network: verdict, curves, pictures, evaluations, time, config, environment, events.
"""

from pathlib import Path
import sys

from absl import flags

from maskrep.cli import command
from maskrep.cli.help import Page
from maskrep.errors import ConfigError
from maskrep.workdir.files import write_atomic


def define(values: flags.FlagValues, argv: list[str]) -> None:
  flags.DEFINE_list('workdir', None, 'One or several runs or imports; of a sweep all of its runs.', flag_values=values)
  flags.DEFINE_string('output', None, 'A PNG file; without it no picture is drawn.', flag_values=values)
  flags.DEFINE_string('html', None, 'An HTML file; without it no page is written.', flag_values=values)


PAGE = Page(
  usage='maskrep report --workdir=DIR,DIR [--output=FILE.png] [--html=FILE.html]', doc=__doc__,
  examples=('maskrep report --workdir=runs/msn_digits --html=report.html',
            'maskrep report --workdir=runs/msn_digits,runs/extrema_digits --output=report.png'),
  define=define)


def parse(argv: list[str]) -> flags.FlagValues:
  values = command.parse(argv, PAGE, ('workdir',))
  for name, suffix in ('output', '.png'), ('html', '.html'):
    path = values[name].value
    if path is not None and not (path.endswith(suffix) and Path(path).absolute().parent.is_dir()):
      raise ConfigError(f'--{name}={path}: must be a file NAME{suffix} in an existing folder')
  return values


def report(argv: list[str]) -> None:
  """Prints the tables, and writes the picture and the page; damaged lines are reported on standard error.

  Raises:
    ConfigError: a workdir has nothing to report.
  """
  values = parse(argv)
  from maskrep.evaluation import curves
  from maskrep.evaluation.report import newest, png, read, runs_in, tables
  from maskrep.evaluation.result import FILE

  records, runs = [], {}
  workdirs = list(dict.fromkeys(run for folder in values.workdir for run in runs_in(folder)))
  for workdir in workdirs:
    loaded, damaged = read(workdir)
    records += loaded
    for number in damaged:
      print(f'maskrep: {Path(workdir) / FILE}: line {number} is damaged and ignored', file=sys.stderr)
    if logged := curves.read(workdir):
      runs[workdir] = logged
    elif not loaded:
      raise ConfigError(f'--workdir={workdir}: has nothing to report yet, neither in metrics.jsonl nor in {FILE}; '
                        'train it, or run maskrep evaluate first')
  kept = newest(records)
  print('\n\n'.join(filter(None, [f'## training\n\n{curves.table(runs)}' if runs else '', tables(kept)])))
  if len(kept) < len(records):
    print(f'\nReplaced by later records: {len(records) - len(kept)}')
  if values.output:
    write_atomic(Path(values.output), png(kept, runs))
  if values.html:
    from maskrep.page.page import written

    write_atomic(Path(values.html), written(values.workdir, kept))


def main(argv: list[str]) -> int:
  return command.run_command(report, argv)
