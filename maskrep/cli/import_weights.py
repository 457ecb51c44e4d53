"""Brings an encoder or a tokenizer here: python -m maskrep import --format=FORMAT --input=PATH --output=FOLDER

See docs/weights.md.
"""

import functools
from pathlib import Path

from absl import flags
import numpy as np

from maskrep.cli import command
from maskrep.errors import ConfigError
from maskrep.weights import native, parity, strict
from maskrep.weights.formats.table import FORMATS, Format
from maskrep.weights.names import Arrays
from maskrep.weights.pretrained import Asked, Found, Pretrained, initial, shapes
from maskrep.weights.staged import staged

EXAMPLE = 'python -m maskrep import --format=hf_msn --input=vit-msn-small --output=weights/vit-msn-small'


def parse(argv: list[str]) -> flags.FlagValues:
  values = flags.FlagValues()
  flags.DEFINE_enum('format', None, list(FORMATS), 'What the input is.', flag_values=values)
  flags.DEFINE_string('input', None, 'The file; for hf_msn the folder.', flag_values=values)
  flags.DEFINE_string('output', None, 'The folder to write, for train.init_from, target.weights, maskrep evaluate and '
                      'maskrep.export.', flag_values=values)
  flags.DEFINE_integer('heads', None, 'Attention heads, where the file does not say, and its width does not.',
                       lower_bound=1, flag_values=values)
  flags.DEFINE_bool('adapt_channels', False, 'Take weights for other than 3 channels; equal ones give what they gave.',
                    flag_values=values)
  flags.DEFINE_string('allow', '', 'Regular expression of the names that may be missing (they start anew), unexpected '
                      '(they are left out) or of another shape (both).', flag_values=values)
  return command.parse(argv, values, ('format', 'input', 'output'), EXAMPLE)


def import_weights(argv: list[str]) -> None:
  """Writes encoder.safetensors and encoder.json, or tokenizer.*, and parity.json.

  Raises:
    RunError: the file cannot be read, does not hold what it should, or computes something else here.
  """
  values = parse(argv)
  fmt, path, what = FORMATS[values.format], Path(values.input).expanduser(), f'--input={values.input}'
  if fmt.read is None:
    raise ConfigError(f'--format={values.format}: is a pickle, which could run anything, and is never opened; give the '
                      f'file that it was made from')
  if not path.exists():
    raise ConfigError(f'{what}: is not there; give a path that exists')
  found = fmt.read(what, path, Asked(values.heads, values.adapt_channels))
  if values.heads and found.config.get('heads') != values.heads:
    raise ConfigError(f'--heads={values.heads}: {path.name} says {found.config.get("heads", "that there are none")}; '
                      'leave the flag out')
  state, changed = strictly(what, found, fmt, values.allow)
  if values.adapt_channels:
    changed.append('first filters, by --adapt_channels')
  changed = found.source.get('changed', []) + changed  # of an import that is imported again
  arrays = fmt.from_foreign(state, found.config, shapes(found.kind, found.config))
  pretrained = Pretrained(kind=found.kind, config=found.config, arrays=arrays, preprocessing=found.preprocessing,
                          source=found.source | {'format': values.format, 'input': path.name, 'changed': changed})
  folder = Path(values.output).expanduser()
  with staged(folder) as partial:
    file = native.save(partial, pretrained)
    parity.certify(pretrained, functools.partial(fmt.peer, state, found.config), file, pretrained.sides)
  print(f'{folder}: a {found.kind}, ' + ', '.join(f'{name}={value}' for name, value in found.config.items()))


def strictly(what: str, found: Found, fmt: Format, allow: str) -> tuple[Arrays, list[str]]:
  """The arrays that such a network has, by their names, and what is not as in the file because `allow` lets it go.

  Raises:
    ConfigError: others are missing, unexpected or of another shape.
  """
  blank = {name: np.zeros(shape, np.float32) for name, shape in shapes(found.kind, found.config).items()}
  wanted = {name: array.shape for name, array in fmt.to_foreign(blank, found.config).items()}
  replaced = strict.check(what, wanted, found.state, allow)
  state = {name: found.state[name] for name in wanted if name not in replaced}
  if replaced:
    new = fmt.to_foreign(initial(found.kind, found.config), found.config)
    state |= {name: new[name] for name in replaced}
  changed = [f'{name} is new' for name in replaced]
  changed += [f'{name} is left out' for name in found.state if name not in wanted]
  if changed:
    print(f'{what}: by --allow, {", ".join(changed)}')
  return state, changed


def main(argv: list[str]) -> int:
  return command.answer(import_weights, argv)

