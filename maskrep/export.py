"""Takes a trained encoder elsewhere: python -m maskrep.export --workdir=RUN --format=FORMAT --output=PATH

See docs/weights.md.
"""

from pathlib import Path
import sys

from absl import flags

from maskrep import command, weights
from maskrep.errors import ConfigError
from maskrep.interop import parity
from maskrep.interop.formats import FORMATS

EXAMPLE = 'python -m maskrep.export --workdir=runs/msn_vits16 --format=timm --output=vits16.safetensors'


def parse(argv: list[str]) -> flags.FlagValues:
  values = flags.FlagValues()
  flags.DEFINE_string('workdir', None, 'A run, or a folder that maskrep.import_weights wrote.', flag_values=values)
  flags.DEFINE_enum('format', None, list(FORMATS), 'What to write.', flag_values=values)
  flags.DEFINE_string('output', None, 'The file; for hf_msn the folder.', flag_values=values)
  flags.DEFINE_enum('what', 'encoder', ['encoder', 'full'], 'The EMA encoder, or the heads and prototypes too.',
                    flag_values=values)
  return command.parse(argv, values, ('workdir', 'format', 'output'), EXAMPLE)


def export(argv: list[str]) -> None:
  """Writes the file and parity.json beside it.

  Raises:
    RunError: there is nothing to export, the format cannot hold it, or it computes something else there.
  """
  values = parse(argv)
  fmt, path = FORMATS[values.format], Path(values.output).expanduser()
  pretrained, run = weights.pretrained(f'--workdir={values.workdir}', values.workdir)
  if pretrained.kind not in fmt.KINDS:
    raise ConfigError(f'--format={values.format}: holds {", ".join(fmt.KINDS)}, and --workdir={values.workdir} is a '
                      f'{pretrained.kind}; choose one of {", ".join(formats_of(pretrained.kind))}')
  if fmt.SUFFIXES and path.suffix not in fmt.SUFFIXES:
    raise ConfigError(f'--output={values.output}: must end with {" or ".join(fmt.SUFFIXES)}')
  if values.what == 'full' and run is None:
    raise ConfigError(f'--what=full: --workdir={values.workdir} holds an encoder alone; choose --what=encoder')
  state = fmt.to_foreign(pretrained.arrays, pretrained.config)
  path.parent.mkdir(parents=True, exist_ok=True)
  file = fmt.write(path, state, pretrained, run if values.what == 'full' else None)
  print(f'{file}: {len(state)} arrays of the encoder')
  if fmt.read is not None:  # what is certified is what is on disk
    state = fmt.read(f'--output={values.output}', path, pretrained.config.get('heads')).state
  parity.certify(pretrained, state, fmt.peer, file)


def formats_of(kind: str) -> list[str]:
  return [name for name, fmt in FORMATS.items() if kind in fmt.KINDS]


def main(argv: list[str]) -> int:
  return command.answer(export, argv)


if __name__ == '__main__':
  sys.exit(main(sys.argv))
