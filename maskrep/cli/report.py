"""Compares the curves and evaluations of runs, as tables and as a picture."""

from pathlib import Path
import sys

from absl import flags

from maskrep.cli import command
from maskrep.cli.help import Page
from maskrep.errors import ConfigError
from maskrep.workdir.files import write_atomic


def define(values: flags.FlagValues, argv: list[str]) -> None:
  flags.DEFINE_list('workdir', None, 'One or several runs or imports.', flag_values=values)
  flags.DEFINE_string('output', None, 'A PNG file; without it no picture is drawn.', flag_values=values)


PAGE = Page(
  usage='maskrep report --workdir=DIR,DIR [--output=FILE.png]', doc=__doc__,
  examples=('maskrep report --workdir=runs/msn_digits',
            'maskrep report --workdir=runs/msn_digits,runs/extrema_digits --output=report.png'),
  define=define)


def parse(argv: list[str]) -> flags.FlagValues:
  values = command.parse(argv, PAGE, ('workdir',))
  output = values.output
  if output is not None and not (output.endswith('.png') and Path(output).absolute().parent.is_dir()):
    raise ConfigError(f'--output={output}: must be a file NAME.png in an existing folder')
  return values


def report(argv: list[str]) -> None:
  """Prints the tables and writes the picture; damaged lines are reported on standard error.

  Raises:
    ConfigError: a workdir has nothing to report.
  """
  values = parse(argv)
  from maskrep.evaluation import curves
  from maskrep.evaluation.report import newest, png, read, tables
  from maskrep.evaluation.result import FILE

  records, runs = [], {}
  for workdir in dict.fromkeys(values.workdir):
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


def main(argv: list[str]) -> int:
  return command.run_command(report, argv)
