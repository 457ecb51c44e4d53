"""Shows the evaluations of runs side by side: python -m maskrep report --workdir=DIR,DIR2 --output=report.png"""

from pathlib import Path
import sys

from absl import flags

from maskrep.cli import command
from maskrep.errors import ConfigError
from maskrep.evaluation.report import newest, png, read, tables
from maskrep.evaluation.result import FILE
from maskrep.workdir.files import write_atomic

EXAMPLE = 'python -m maskrep report --workdir=runs/msn_digits,runs/extrema_digits --output=report.png'


def parse(argv: list[str]) -> flags.FlagValues:
  values = flags.FlagValues()
  flags.DEFINE_list('workdir', None, 'Runs or imports, one or several.', flag_values=values)
  flags.DEFINE_string('output', None, 'A PNG file for the picture; none is drawn without it.', flag_values=values)
  command.parse(argv, values, ('workdir',), EXAMPLE)
  output = values.output
  if output is not None and not (output.endswith('.png') and Path(output).absolute().parent.is_dir()):
    raise ConfigError(f'--output={output}: must be a file NAME.png in a folder that is there')
  return values


def report(argv: list[str]) -> None:
  """Prints the tables and writes the picture; lines that are no records are told on standard error.

  Raises:
    ConfigError: there is no record in a workdir.
  """
  values = parse(argv)
  records = []
  for workdir in dict.fromkeys(values.workdir):
    found, damaged = read(workdir)
    records += found
    for number in damaged:
      print(f'maskrep: {Path(workdir) / FILE}: line {number} is damaged, and left out', file=sys.stderr)
    if not found:
      raise ConfigError(f'--workdir={workdir}: holds no record in {FILE}; run python -m maskrep evaluate first')
  kept = newest(records)
  print(tables(kept))
  if len(kept) < len(records):
    print(f'\nLeft out, as later records repeat them: {len(records) - len(kept)}')
  if values.output:
    write_atomic(Path(values.output), png(kept))


def main(argv: list[str]) -> int:
  return command.answer(report, argv)
