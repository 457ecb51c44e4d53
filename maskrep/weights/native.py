"""Our own names, in safetensors or NumPy's npz: an encoder as `encoder.*`, a tokenizer as `tokenizer.*`; for a complete
run, also the rest of its state.

A JSON file of the same name holds the kind and the fields of the network, its preprocessing and its source. Imports
write `encoder.safetensors` or `tokenizer.safetensors` in a folder of its own, which `train.init_from` and
`target.weights` accept.
"""

from collections.abc import Mapping
import dataclasses
import json
from pathlib import Path
from typing import Any

from maskrep import schema
from maskrep.errors import ConfigError
from maskrep.models.encoder import Preprocessing
from maskrep.weights import bounds, files, names, side_files, strict
from maskrep.weights.formats import channels
from maskrep.weights.peers import PeerMissing
from maskrep.weights.pretrained import (
  KINDS,
  ForeignNetwork,
  ImportOptions,
  Pretrained,
  described,
  module,
  part,
  plain,
  shapes,
)
from maskrep.workdir.files import write_atomic


@dataclasses.dataclass(frozen=True)
class NativeFormat:
  """The format of files with this suffix; see `formats.table.Format`."""

  suffix: str
  KINDS = tuple(KINDS)

  @property
  def SUFFIXES(self):
    return (f'.{self.suffix}',)

  def to_foreign(self, arrays, config):
    return dict(arrays)

  def from_foreign(self, state, config, wanted):
    return {name: state[name] for name in wanted}

  def read(self, what, path, options):
    channels.refuse(options)
    description = path.with_suffix('.json')
    arrays = files.read(path)
    try:
      network = _parse(side_files.read_json(description), arrays)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError, ConfigError
            ) as error:
      raise ConfigError(f'{what}: {description.name}, which describes {path.name}, cannot be used '
                        f'({side_files.brief(error)}); take both from their source again') from error
    return network

  def write(self, path, state, pretrained, run):
    arrays = names.with_prefix(f'{part(pretrained.kind)}.', state)
    if run is not None:
      arrays |= run.ema_params | names.with_prefix('model_state.', run.model_state)
    if self.suffix == 'npz':
      files.write_npz(path, arrays)
    else:
      files.write_safetensors(path, arrays, {'format': 'np'})
    description = {'kind': pretrained.kind, 'config': pretrained.config,
                   'preprocessing': plain(pretrained.preprocessing), 'source': pretrained.source}
    write_atomic(path.with_suffix('.json'), json.dumps(description, indent=1) + '\n')
    return path

  def peer(self, state, config, side):
    raise PeerMissing('these are our own names, and no other library runs them; certify another --format')


FOLDER = NativeFormat('safetensors')


def save(folder: Path, pretrained: Pretrained) -> Path:
  """Writes a network to the place where `load` finds it; returns the file."""
  folder.mkdir(parents=True, exist_ok=True)
  return FOLDER.write(folder / f'{part(pretrained.kind)}.safetensors', pretrained.arrays, pretrained, None)


def saved(folder: Path) -> str | None:
  """The kind of files that `save` wrote into a folder: 'encoder', 'tokenizer' or None."""
  return next((name for name in ('encoder', 'tokenizer') if (folder / f'{name}.json').exists()), None)


def load(what: str, folder: Path) -> Pretrained:
  """The network that `save` wrote.

  Args:
    what: the flag or field and its value, for errors.

  Raises:
    ConfigError: a file is missing or damaged, or the arrays do not belong to such a network.
  """
  return load_file(what, folder / f'{saved(folder)}.safetensors')


def load_file(what: str, path: Path) -> Pretrained:
  """As `load`, the network in a file that `NativeFormat` wrote; the rest of a run's state is left out."""
  network = NativeFormat(path.suffix[1:]).read(what, path, ImportOptions())
  strict.check(what, shapes(network.kind, network.config), network.state, remedy='take it from its source again')
  return Pretrained(kind=network.kind, config=network.config, arrays=network.state,
                    preprocessing=network.preprocessing, source=network.source)


def _parse(description: Mapping[str, Any], arrays: names.Arrays) -> ForeignNetwork:
  """The network given by a description and its file of arrays, checked."""
  kind, config, source = description['kind'], _with_tuples(description['config']), description['source']
  preprocessing = description['preprocessing']
  if preprocessing is not None:
    preprocessing = schema.build(Preprocessing, _with_tuples(preprocessing), 'preprocessing')
  if not isinstance(source, dict):
    raise ConfigError('source: must be an object')
  changed = source.get('changed', [])
  if not isinstance(changed, list) or not all(isinstance(change, str) for change in changed):
    raise ConfigError('source.changed: must be a list of texts')
  _, config = described(module(kind, config))  # with the defaults of fields that are newer than the file
  network = ForeignNetwork(names.without(f'{part(kind)}.', arrays), kind, config, preprocessing, source)
  bounds.checked_shapes(network)
  return network


def _with_tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
  """Turns lists into tuples, which JSON does not have."""
  return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
