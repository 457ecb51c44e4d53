"""classes.json: the names of the classes that a run is trained on, in the order of their labels."""

from collections.abc import Sequence
import json
from pathlib import Path

from maskrep.errors import CheckpointError
from maskrep.workdir.files import write_atomic

FILE = 'classes.json'


def store_classes(workdir: Path, names: Sequence[str] | None) -> None:
  """Writes the file, unless there are no labels or their names are unknown."""
  if names is not None:
    write_atomic(workdir / FILE, json.dumps(list(names), indent=1) + '\n')


def load_classes(workdir: Path) -> list[str] | None:
  """The names; None if the run has none, or an earlier version wrote it without them.

  Raises:
    CheckpointError: the file is damaged.
  """
  path = workdir / FILE
  if not path.exists():
    return None
  try:
    names = json.loads(path.read_text())
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
      raise ValueError('it holds no names')
    return names
  except (OSError, ValueError) as error:
    raise CheckpointError(f'{path}: is damaged or cannot be read ({error}); put back a copy, or remove it') from error
