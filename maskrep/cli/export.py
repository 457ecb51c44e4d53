"""Takes a trained encoder or tokenizer elsewhere: python -m maskrep export --workdir=RUN --format=FORMAT --output=PATH

See docs/weights.md.
"""

import functools
from pathlib import Path

from absl import flags

from maskrep.cli import command
from maskrep.errors import ConfigError
from maskrep.experiment import stored
from maskrep.weights import parity
from maskrep.weights.formats.table import FORMATS, PROGRAMS
from maskrep.weights.pretrained import Asked, Pretrained, Run, encoder_only, forward, variables
from maskrep.weights.staged import staged

EXAMPLE = 'python -m maskrep export --workdir=runs/msn_vits16 --format=timm --output=vits16.safetensors'


def parse(argv: list[str]) -> flags.FlagValues:
  values = flags.FlagValues()
  flags.DEFINE_string('workdir', None, 'A run, or a folder that maskrep import wrote.', flag_values=values)
  flags.DEFINE_enum('format', None, [*FORMATS, *PROGRAMS], 'What to write.', flag_values=values)
  flags.DEFINE_string('output', None, 'The file; for hf_msn and saved_model the folder.', flag_values=values)
  flags.DEFINE_enum('what', 'encoder', ['encoder', 'full'], 'The EMA encoder (or the tokenizer, of a run that trained '
                    'one), or the heads and prototypes too.', flag_values=values)
  return command.parse(argv, values, ('workdir', 'format', 'output'), EXAMPLE)


def export(argv: list[str]) -> None:
  """Writes the file and parity.json beside it.

  Raises:
    RunError: there is nothing to export, the format cannot hold it, or it computes something else there.
  """
  values = parse(argv)
  formats = FORMATS | PROGRAMS
  fmt, path = formats[values.format], Path(values.output).expanduser()
  pretrained, run = stored.pretrained(
    f'--workdir={values.workdir}', values.workdir, full=values.what == 'full')
  if pretrained.kind not in fmt.KINDS:
    others = [name for name, other in formats.items() if pretrained.kind in other.KINDS]
    raise ConfigError(f'--format={values.format}: holds {", ".join(fmt.KINDS)}, and --workdir={values.workdir} is a '
                      f'{pretrained.kind}; choose one of {", ".join(others)}')
  if fmt.SUFFIXES and path.suffix not in fmt.SUFFIXES:
    raise ConfigError(f'--output={values.output}: must end with {" or ".join(fmt.SUFFIXES)}')
  if values.what == 'full' and run is None:
    raise ConfigError(f'--what=full: --workdir={values.workdir} holds an encoder alone; choose --what=encoder')
  write = _program if values.format in PROGRAMS else _state
  with staged(path) as partial:
    told = write(values.format, partial, pretrained, run if values.what == 'full' else None)
  print(f'{path}: {told}')


def _state(name: str, path: Path, pretrained: Pretrained, run: Run | None) -> str:
  fmt = FORMATS[name]
  state = fmt.to_foreign(pretrained.arrays, pretrained.config)
  file = fmt.write(path, state, pretrained, run)
  if fmt.read is not None:  # what is certified is what is on disk
    state = fmt.read(f'--output={path.name}', path, Asked(heads=pretrained.config.get('heads'))).state
  parity.certify(pretrained, functools.partial(fmt.peer, state, pretrained.config), file, pretrained.sides)
  return f'{len(state)} arrays of a {pretrained.kind}'


def _program(name: str, path: Path, pretrained: Pretrained, run: Run | None) -> str:
  encoder_only(name, run)
  own, program = pretrained.sides[:1], PROGRAMS[name]
  encode = functools.partial(forward(pretrained.kind, pretrained.config), variables(pretrained.arrays))
  file = program.export(encode, own[0], path)
  parity.certify(pretrained, lambda side: program.peer(path), file, own)
  return f'a {pretrained.kind} for images of {own[0]} x {own[0]} pixels'


def main(argv: list[str]) -> int:
  return command.answer(export, argv)

