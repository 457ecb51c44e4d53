"""Exports a trained encoder or tokenizer: python -m maskrep export --workdir=RUN --format=FORMAT --output=PATH

See docs/weights.md.
"""

import functools
from pathlib import Path

from absl import flags

from maskrep.cli import command
from maskrep.errors import ConfigError
from maskrep.experiment import stored
from maskrep.weights import parity
from maskrep.weights.formats.table import FORMATS, FORWARD_FORMATS
from maskrep.weights.pretrained import ImportOptions, Pretrained, RunState, encoder_only, forward, module, variables
from maskrep.weights.staged import staged

EXAMPLE = 'python -m maskrep export --workdir=runs/msn_vits16 --format=timm --output=vits16.safetensors'


def parse(argv: list[str]) -> flags.FlagValues:
  values = flags.FlagValues()
  flags.DEFINE_string('workdir', None, 'A run, or a folder written by maskrep import.', flag_values=values)
  flags.DEFINE_enum('format', None, [*FORMATS, *FORWARD_FORMATS], 'The format to write.', flag_values=values)
  flags.DEFINE_string('output', None, 'The file or, for hf_msn and saved_model, the folder.', flag_values=values)
  flags.DEFINE_enum('what', 'encoder', ['encoder', 'full'], 'The EMA encoder (or the tokenizer, if the run trained '
                    'one), or the heads and prototypes too.', flag_values=values)
  return command.parse(argv, values, ('workdir', 'format', 'output'), EXAMPLE)


def export(argv: list[str]) -> None:
  """Writes the file, and parity.json beside it.

  Raises:
    RunError: there is nothing to export, the format cannot hold it, or the outputs of the export differ.
  """
  values = parse(argv)
  formats = FORMATS | FORWARD_FORMATS
  fmt, path = formats[values.format], Path(values.output).expanduser()
  pretrained, run = stored.pretrained(
    f'--workdir={values.workdir}', values.workdir, full=values.what == 'full')
  if pretrained.kind not in fmt.KINDS:
    others = [name for name, other in formats.items() if pretrained.kind in other.KINDS]
    raise ConfigError(f'--format={values.format}: holds {", ".join(fmt.KINDS)}, but --workdir={values.workdir} is a '
                      f'{pretrained.kind}; choose one of {", ".join(others)}')
  if fmt.SUFFIXES and path.suffix not in fmt.SUFFIXES:
    raise ConfigError(f'--output={values.output}: must end with {" or ".join(fmt.SUFFIXES)}')
  if values.what == 'full' and run is None:
    raise ConfigError(f'--what=full: --workdir={values.workdir} holds only an encoder; choose --what=encoder')
  write = _write_forward if values.format in FORWARD_FORMATS else _write_arrays
  with staged(path) as partial:
    summary = write(values.format, partial, pretrained, run if values.what == 'full' else None)
  print(f'{path}: {summary}')


def _write_arrays(name: str, path: Path, pretrained: Pretrained, run: RunState | None) -> str:
  fmt = FORMATS[name]
  state = fmt.to_foreign(pretrained.arrays, pretrained.config)
  file = fmt.write(path, state, pretrained, run)
  if fmt.read is not None:  # certify what is on disk
    state = fmt.read(f'--output={path.name}', path, ImportOptions(heads=pretrained.config.get('heads'))).state
  parity.certify(pretrained, functools.partial(fmt.peer, state, pretrained.config), file, pretrained.sides)
  return f'{len(state)} arrays of a {pretrained.kind}'


def _write_forward(name: str, path: Path, pretrained: Pretrained, run: RunState | None) -> str:
  encoder_only(name, run)
  side, fmt = pretrained.sides[0], FORWARD_FORMATS[name]
  encode = functools.partial(forward(module(pretrained.kind, pretrained.config)), variables(pretrained.arrays))
  file = fmt.export(encode, side, path)
  parity.certify(pretrained, lambda side: fmt.peer(path), file, (side,))
  return f'a {pretrained.kind} for images of {side} x {side} pixels'


def main(argv: list[str]) -> int:
  return command.run_command(export, argv)
