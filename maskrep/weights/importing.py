"""Reading a network from another library's file, verified by that library's own code."""

import functools
from pathlib import Path

import numpy as np

from maskrep.errors import ConfigError
from maskrep.weights import bounds, native, parity, strict
from maskrep.weights.formats.table import FORMATS, Format
from maskrep.weights.names import Arrays
from maskrep.weights.pretrained import ForeignNetwork, ImportOptions, Pretrained, initial, shapes
from maskrep.weights.staged import staged


def run(name: str, source_path: str, folder: Path, *, heads: int | None, adapt_channels: bool, allow: str) -> str:
  """Writes encoder.safetensors and encoder.json, or tokenizer.*, and parity.json into `folder`; returns a summary.

  Args:
    name: the format's name.
    source_path: the file or folder to read.
    heads, adapt_channels: see `ImportOptions`.
    allow: see `reconcile`.

  Raises:
    RunError: the file cannot be read, lacks arrays of its network, or the outputs of the import differ.
  """
  fmt, path, what = FORMATS[name], Path(source_path).expanduser(), f'--input={source_path}'
  if fmt.read is None or fmt.from_foreign is None:
    raise ConfigError(f'--format={name}: is a pickle, which could run any code, and is never opened; give the '
                      'file that it was made from')
  if not path.exists():
    raise ConfigError(f'{what}: does not exist; give a path that exists')
  network = fmt.read(what, path, ImportOptions(heads, adapt_channels))
  kind, config, source = network.kind, network.config, network.source
  if heads and config.get('heads') != heads:
    raise ConfigError(f'--heads={heads}: {path.name} has {config.get("heads", "none")}; leave the flag out')
  state, changed = reconcile(what, network, fmt, allow)
  if adapt_channels:
    changed.append('first filters, by --adapt_channels')
  changed = source.get('changed', []) + changed  # an import that is imported again has its own
  pretrained = Pretrained(
    kind=kind, config=config, arrays=fmt.from_foreign(state, config, shapes(kind, config)),
    preprocessing=network.preprocessing,
    source=source | {'format': name, 'input': path.name, 'changed': changed})
  with staged(folder) as partial:
    file = native.save(partial, pretrained)
    parity.certify(pretrained, functools.partial(fmt.peer, state, config), file, pretrained.sides)
  return (f'{folder}: a {kind}, ' + ', '.join(f'{name}={value}' for name, value in config.items()))


def reconcile(what: str, network: ForeignNetwork, fmt: Format, allow: str) -> tuple[Arrays, list[str]]:
  """Returns the arrays that the network needs, by the other library's names, and a list of differences from the file.

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
