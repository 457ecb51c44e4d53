"""A file that is touched every minute while the process lives: for the liveness probe of a cluster.

It goes on while a step is computed or compiled. It stops if the interpreter hangs as a whole, as it does in a library
that waits and keeps the interpreter's lock; whatever watches the file may then end the process.
"""

import logging
from pathlib import Path
import threading

from maskrep.errors import ConfigError

EVERY_S = 60

log = logging.getLogger(__name__)


def beat(path: Path) -> None:
  """Touches the file now, and every `EVERY_S` for as long as this process lives.

  Raises:
    ConfigError: it cannot be written.
  """
  try:
    path.touch()
  except OSError as error:
    raise ConfigError(f'--heartbeat={path}: cannot be written ({error.strerror}); give a file in a folder that exists '
                      'and that you may write to') from error
  threading.Thread(target=_go_on, args=(path,), name='heartbeat', daemon=True).start()


def _go_on(path: Path) -> None:
  pause = threading.Event()
  while not pause.wait(EVERY_S):
    try:
      path.touch()
    except OSError as error:
      log.warning('--heartbeat=%s: cannot be written any more (%s)', path, error)
