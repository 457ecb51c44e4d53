"""What a conversion writes appears when all of it is there, and takes the place of nothing."""

from collections.abc import Iterator
import contextlib
from pathlib import Path
import tempfile

from maskrep.errors import ConfigError
from maskrep.workdir.config import holds_run


@contextlib.contextmanager
def staged(output: Path) -> Iterator[Path]:
  """Gives a path of the same name to write to, a file or a folder; moves all that lies beside it there to `output`.

  Where the block raises, nothing is left.

  Raises:
    ConfigError: something of a name that was written is there already, `output` is in a run, or cannot be written.
  """
  what, folder = f'--output={output}', output.parent
  if holds_run(output) or holds_run(folder):
    raise ConfigError(f'{what}: is in a run, whose files have such names; give a folder of its own')
  if output.exists():
    raise ConfigError(f'{what}: is there already; remove it, or give another path')
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.partial-', dir=folder) as partial:
      yield Path(partial, output.name)
      # The certificate last: a file without one is not certified.
      made = sorted(Path(partial).iterdir(), key=lambda path: path.name == 'parity.json')
      if taken := [path.name for path in made if (folder / path.name).exists()]:
        raise ConfigError(f'{what}: {", ".join(taken)} is there already, of another; give a folder of its own')
      for path in made:
        path.rename(folder / path.name)
  except OSError as error:
    raise ConfigError(f'{what}: cannot be written ({error.strerror or error}); give another path') from error
