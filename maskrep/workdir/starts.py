"""run.json: the code, versions, devices and data of each start of a run."""

from collections import Counter
from importlib import metadata
import json
import logging
import os
from pathlib import Path
import platform
import subprocess
import sys

import jax

from maskrep.errors import CheckpointError, ConfigError
from maskrep.workdir.config import diff
from maskrep.workdir.events import now
from maskrep.workdir.files import write_atomic

PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'grain', 'tensorflow-datasets', 'numpy')

log = logging.getLogger(__name__)


def describe_start(data: str) -> dict:
  """The code, versions and devices of this process; `data` is the fingerprint of the training data."""
  kinds = Counter(device.device_kind for device in jax.devices())
  return {
    'time': now(),
    'command': sys.argv,
    'data': data,
    'revision': _git('rev-parse', 'HEAD'),
    'modified': bool(_git('status', '--porcelain')),
    'python': platform.python_version(),
    'versions': {name: metadata.version(name) for name in PACKAGES},
    'devices': ', '.join(f'{count} x {kind}' for kind, count in kinds.items()),
    'processes': jax.process_count(),
    'cores': os.cpu_count(),
    'xla_flags': os.environ.get('XLA_FLAGS', ''),
  }


def check_start(workdir: Path, start: dict, allowed: tuple[str, ...] = ()) -> None:
  """On resume, compares a start with the previous one.

  Other code, versions or devices are allowed, with a warning: results then agree, but not bit for bit.

  Raises:
    ConfigError: the data differ, and `allowed` does not name 'data'.
    CheckpointError: the file is damaged.
  """
  path = workdir / 'run.json'
  if not path.exists():
    return
  changed = diff(_last(path), start)
  changed = {field: values for field, values in changed.items() if field not in ('time', 'command')}
  shown = ''.join(f'\n  {field}: {old} -> {new}' for field, (old, new) in sorted(changed.items()))
  if 'data' in changed and 'data' not in allowed:
    raise ConfigError(f'--workdir={workdir}: holds a run on other data:{shown}\nresume with the previous data, '
                      'choose another --workdir, or accept with --allow_config_change=data')
  if changed:
    log.warning('%s: resumed with other code, versions or devices, so results agree, but not bit for bit:%s', workdir,
                shown)


def record_start(workdir: Path, start: dict) -> None:
  """Adds a start to run.json, completely or not at all: the next start reads it."""
  path = workdir / 'run.json'
  before = path.read_text() if path.exists() else ''
  write_atomic(path, before + json.dumps(start) + '\n')


def _last(path: Path) -> dict:
  try:
    start = json.loads(path.read_text().splitlines()[-1])
    if not isinstance(start, dict):
      raise ValueError('it holds no start')
    return start
  except (OSError, ValueError, IndexError) as error:
    raise CheckpointError(f'{path}: is damaged or cannot be read ({error}); put back a copy of it or, to go on without '
                          'a comparison with the starts before, move it away') from error


def _git(*arguments: str) -> str | None:
  """Output of a git command on the checkout of this code; None if it is not in one."""
  command = ['git', '-C', str(Path(__file__).parent), *arguments]
  try:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    return None
