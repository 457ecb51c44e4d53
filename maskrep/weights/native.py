"""Our own names, in safetensors or NumPy's npz: an encoder as `encoder.*`, a tokenizer as `tokenizer.*`; of a whole
run, the rest beside it.

A file of the same name in JSON says what it is. `encoder.safetensors` or `tokenizer.safetensors` in a folder of its own
is what imports leave, and what `train.init_from` and `target.weights` take.
"""

import dataclasses
import json
from pathlib import Path

from maskrep.errors import ConfigError
from maskrep.weights import files, names, strict
from maskrep.weights.formats import channels
from maskrep.weights.peers import Absent
from maskrep.weights.pretrained import KINDS, Asked, Found, Pretrained, check_preprocessing, part, shapes
from maskrep.workdir.files import write_atomic

FIELDS = 'kind', 'config', 'preprocessing', 'source'


@dataclasses.dataclass(frozen=True)
class Own:
  """The format of one kind of file."""

  suffix: str
  KINDS = tuple(KINDS)

  @property
  def SUFFIXES(self):
    return (f'.{self.suffix}',)

  def to_foreign(self, arrays, config):
    return dict(arrays)

  def from_foreign(self, state, config, wanted):
    return {name: state[name] for name in wanted}

  def read(self, what, path, asked):
    channels.refuse(asked)
    said = path.with_suffix('.json')
    try:
      found = json.loads(said.read_text())
      found = {field: found[field] for field in FIELDS}
      # JSON has no tuples.
      found['config'] = {name: tuple(value) if isinstance(value, list) else value
                         for name, value in found['config'].items()}
      shapes(found['kind'], found['config'])
      check_preprocessing(found['preprocessing'])
      if not isinstance(found['source'], dict):
        raise ConfigError('source: must be an object')
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError, ConfigError
            ) as error:
      raise ConfigError(f'{what}: {said.name}, which says what {path.name} is, cannot be used '
                        f'({" ".join(str(error).split())}); take both from their source again') from error
    return Found(state=names.without(f'{part(found["kind"])}.', files.read(path)), **found)

  def write(self, path, state, pretrained, run):
    arrays = names.with_prefix(f'{part(pretrained.kind)}.', state)
    if run is not None:
      arrays |= run.ema_params | names.with_prefix('model_state.', run.model_state)
    if self.suffix == 'npz':
      files.write_npz(path, arrays)
    else:
      files.write_safetensors(path, arrays, {'format': 'np'})
    said = {field: getattr(pretrained, field) for field in FIELDS}
    write_atomic(path.with_suffix('.json'), json.dumps(said, indent=1) + '\n')
    return path

  def peer(self, state, config, side):
    raise Absent('these are our own names, and no other library runs them; certify another --format')


FOLDER = Own('safetensors')


def save(folder: Path, pretrained: Pretrained) -> Path:
  """Writes it where `load` finds it; returns the file."""
  folder.mkdir(parents=True, exist_ok=True)
  return FOLDER.write(folder / f'{part(pretrained.kind)}.safetensors', pretrained.arrays, pretrained, None)


def saved(folder: Path) -> str | None:
  """What `save` wrote there: 'encoder', 'tokenizer' or None."""
  return next((name for name in ('encoder', 'tokenizer') if (folder / f'{name}.json').exists()), None)


def load(what: str, folder: Path) -> Pretrained:
  """What `save` wrote.

  Args:
    what: the flag or field and its value, for errors.

  Raises:
    ConfigError: the folder is not whole.
  """
  found = FOLDER.read(what, folder / f'{saved(folder)}.safetensors', Asked())
  strict.check(what, shapes(found.kind, found.config), found.state)
  return Pretrained(kind=found.kind, config=found.config, arrays=found.state, preprocessing=found.preprocessing,
                    source=found.source)
