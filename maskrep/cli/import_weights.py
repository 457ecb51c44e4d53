"""Imports an encoder or a tokenizer: python -m maskrep import --format=FORMAT --input=PATH --output=FOLDER

See docs/weights.md.
"""

import functools
from pathlib import Path

from absl import flags
import numpy as np

from maskrep.cli import command
from maskrep.errors import ConfigError
from maskrep.weights import bounds, native, parity, strict
from maskrep.weights.formats.table import FORMATS, Format
from maskrep.weights.names import Arrays
from maskrep.weights.pretrained import ForeignNetwork, ImportOptions, Pretrained, initial, shapes
from maskrep.weights.staged import staged

EXAMPLE = 'python -m maskrep import --format=hf_msn --input=vit-msn-small --output=weights/vit-msn-small'


def parse(argv: list[str]) -> flags.FlagValues:
  values = flags.FlagValues()
  flags.DEFINE_enum('format', None, list(FORMATS), 'The format of the input.', flag_values=values)
  flags.DEFINE_string('input', None, 'The file or, for hf_msn, the folder.', flag_values=values)
  flags.DEFINE_string('output', None, 'The folder to write, for train.init_from, target.weights, maskrep evaluate and '
                      'maskrep export.', flag_values=values)
  flags.DEFINE_integer('heads', None, 'The number of attention heads, if it is neither in the file nor known for its '
                       'width.', lower_bound=1, flag_values=values)
  flags.DEFINE_bool('adapt_channels', False, 'Accept weights for other than 3 channels; the output for equal channels '
                    'stays the same.', flag_values=values)
  flags.DEFINE_string('allow', '', 'Regular expression of the names that may be missing (they are initialised), '
                      'unexpected (they are left out) or of another shape (both).', flag_values=values)
  return command.parse(argv, values, ('format', 'input', 'output'), EXAMPLE)


def import_weights(argv: list[str]) -> None:
  """Writes encoder.safetensors and encoder.json, or tokenizer.*, and parity.json.

  Raises:
    RunError: the file cannot be read, lacks arrays of its network, or the outputs of the import differ.
  """
  values = parse(argv)
  fmt, path, what = FORMATS[values.format], Path(values.input).expanduser(), f'--input={values.input}'
  if fmt.read is None:
    raise ConfigError(f'--format={values.format}: is a pickle, which could run any code, and is never opened; give the '
                      'file that it was made from')
  if not path.exists():
    raise ConfigError(f'{what}: does not exist; give a path that exists')
  network = fmt.read(what, path, ImportOptions(values.heads, values.adapt_channels))
  kind, config, source = network.kind, network.config, network.source
  if values.heads and config.get('heads') != values.heads:
    raise ConfigError(f'--heads={values.heads}: {path.name} has {config.get("heads", "none")}; leave the flag out')
  state, changed = reconcile(what, network, fmt, values.allow)
  if values.adapt_channels:
    changed.append('first filters, by --adapt_channels')
  changed = source.get('changed', []) + changed  # an import that is imported again has its own
  pretrained = Pretrained(
    kind=kind, config=config, arrays=fmt.from_foreign(state, config, shapes(kind, config)),
    preprocessing=network.preprocessing,
    source=source | {'format': values.format, 'input': path.name, 'changed': changed})
  folder = Path(values.output).expanduser()
  with staged(folder) as partial:
    file = native.save(partial, pretrained)
    parity.certify(pretrained, functools.partial(fmt.peer, state, config), file, pretrained.sides)
  print(f'{folder}: a {kind}, ' + ', '.join(f'{name}={value}' for name, value in config.items()))


def reconcile(what: str, network: ForeignNetwork, fmt: Format, allow: str) -> tuple[Arrays, list[str]]:
  """Returns the arrays that the network needs, by the other library's names, and their differences from the file.

  Args:
    what: the flag and its value, for errors.
    allow: regular expression of names that may be missing, unexpected or of another shape.

  Raises:
    ConfigError: other names are missing, unexpected or of another shape.
  """
  try:
    ours = bounds.checked_shapes(network)
  except ConfigError as error:
    raise ConfigError(f'{what}: {error}; take it from its source again') from error
  blank = {name: np.broadcast_to(np.float32(0), shape) for name, shape in ours.items()}
  wanted = {name: array.shape for name, array in fmt.to_foreign(blank, network.config).items()}
  replaced = strict.check(what, wanted, network.state, allow)
  state = {name: network.state[name] for name in wanted if name not in replaced}
  if replaced:
    new = fmt.to_foreign(initial(network.kind, network.config), network.config)
    state |= {name: new[name] for name in replaced}
  changed = [f'{name} is new' for name in replaced]
  changed += [f'{name} is left out' for name in network.state if name not in wanted]
  if changed:
    print(f'{what}: by --allow, {", ".join(changed)}')
  return state, changed


def main(argv: list[str]) -> int:
  return command.run_command(import_weights, argv)
