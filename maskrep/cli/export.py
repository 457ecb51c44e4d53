"""Exports a trained encoder or tokenizer to another library, whose own code verifies the outputs."""

from pathlib import Path

from absl import flags

from maskrep.cli import command
from maskrep.cli.help import Page
from maskrep.errors import ConfigError
from maskrep.weights.formats import ARRAYS, FORWARD


def define(values: flags.FlagValues, argv: list[str]) -> None:
  flags.DEFINE_string('workdir', None, 'A run, or a folder written by maskrep import.', flag_values=values)
  flags.DEFINE_enum('format', None, [*ARRAYS, *FORWARD], 'The format to write.', flag_values=values)
  flags.DEFINE_string('output', None, 'The file or, for hf_msn and saved_model, the folder.', flag_values=values)
  flags.DEFINE_enum('what', 'encoder', ['encoder', 'full'], 'The EMA encoder (or the tokenizer, if the run trained '
                    'one), or the heads and prototypes too.', flag_values=values)


PAGE = Page(
  usage='maskrep export --workdir=DIR --format=FORMAT --output=PATH', doc=__doc__,
  examples=('maskrep export --workdir=runs/msn_vits16 --format=timm --output=vits16.safetensors',
            'maskrep export --workdir=runs/msn_digits --format=saved_model --output=msn_digits'),
  define=define, bucket=True)


def parse(argv: list[str]) -> flags.FlagValues:
  return command.parse(argv, PAGE, ('workdir', 'format', 'output'))


def export(argv: list[str]) -> None:
  """Writes the file, and parity.json beside it.

  Raises:
    RunError: there is nothing to export, the format cannot hold it, or the outputs of the export differ.
  """
  values = parse(argv)
  from maskrep.experiment import stored
  from maskrep.weights.export import check, write

  path, where = Path(values.output).expanduser(), f'--workdir={values.workdir}'
  pretrained, run = stored.pretrained(where, values.workdir, full=values.what == 'full')
  check(values.format, path, pretrained.kind, where)
  if values.what == 'full' and run is None:
    raise ConfigError(f'--what=full: {where} holds only an encoder; choose --what=encoder')
  print(f'{path}: {write(values.format, path, pretrained, run)}')


def main(argv: list[str]) -> int:
  return command.run_command(export, argv)
