"""Imports an encoder or tokenizer from another library, whose own code verifies the outputs."""

from pathlib import Path

from absl import flags

from maskrep.cli import command
from maskrep.cli.help import Page
from maskrep.weights.formats import ARRAYS


def define(values: flags.FlagValues, argv: list[str]) -> None:
  flags.DEFINE_enum('format', None, ARRAYS, 'The format of the input.', flag_values=values)
  flags.DEFINE_string('input', None, 'The file or, for hf_msn, the folder.', flag_values=values)
  flags.DEFINE_string('output', None, 'The folder to write, for train.init_from, target.weights, maskrep evaluate and '
                      'maskrep export.', flag_values=values)
  flags.DEFINE_integer('heads', None, 'The number of attention heads, if it is neither in the file nor known for its '
                       'width.', lower_bound=1, flag_values=values)
  flags.DEFINE_bool('adapt_channels', False, 'Accept weights for other than 3 channels; the output for equal channels '
                    'stays the same.', flag_values=values)
  flags.DEFINE_string('allow', '', 'Regular expression of the names that may be missing (they are initialised), '
                      'unexpected (they are left out) or of another shape (both).', flag_values=values)


PAGE = Page(
  usage='maskrep import --format=FORMAT --input=PATH --output=DIR', doc=__doc__,
  examples=('maskrep import --format=hf_msn --input=vit-msn-small --output=weights/vit-msn-small',
            'maskrep import --format=timm --input=vits16.safetensors --output=weights/vits16'),
  define=define)


def parse(argv: list[str]) -> flags.FlagValues:
  return command.parse(argv, PAGE, ('format', 'input', 'output'))


def import_weights(argv: list[str]) -> None:
  """Writes encoder.safetensors and encoder.json, or tokenizer.*, and parity.json.

  Raises:
    RunError: the file cannot be read, lacks arrays of its network, or the outputs of the import differ.
  """
  values = parse(argv)
  from maskrep.weights import importing

  folder = Path(values.output).expanduser()
  print(importing.run(values.format, values.input, folder, heads=values.heads, adapt_channels=values.adapt_channels,
                      allow=values.allow))


def main(argv: list[str]) -> int:
  return command.run_command(import_weights, argv)
