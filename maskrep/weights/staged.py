"""Writes all files of a conversion or none, without replacing any."""

from collections.abc import Iterator
import contextlib
from pathlib import Path
import shutil
import tempfile

from maskrep.errors import ConfigError
from maskrep.process import signals
from maskrep.workdir.config import holds_run


@contextlib.contextmanager
def staged(output: Path) -> Iterator[Path]:
  """Yields a temporary path for a file or a folder, then moves it and all files beside it to `output`.

  If the block raises, nothing is left.

  Raises:
    ConfigError: a file with one of the names exists already, `output` is in a run, or it cannot be written.
  """
  what, folder = f'--output={output}', output.parent
  if holds_run(output) or holds_run(folder):
    raise ConfigError(f'{what}: is in a run, whose files have such names; give a folder of its own')
  if output.exists():
    raise ConfigError(f'{what}: exists already; remove it, or give another path')
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with (tempfile.TemporaryDirectory(prefix='.partial-', dir=folder) as partial,
          signals.last_act(lambda _: shutil.rmtree(partial, ignore_errors=True))):
      yield Path(partial, output.name)
      # The certificate last: a file without one is not certified.
      written = sorted(Path(partial).iterdir(), key=lambda path: path.name == 'parity.json')
      if taken := [path.name for path in written if (folder / path.name).exists()]:
        raise ConfigError(f'{what}: {", ".join(taken)} exists already, of another conversion; give a folder of '
                          'its own')
      for path in written:
        path.rename(folder / path.name)
  except OSError as error:
    raise ConfigError(f'{what}: cannot be written ({error.strerror or error}); give another path') from error
