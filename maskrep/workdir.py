"""What a run leaves on disk beside its checkpoints: its config, what it ran on, its metrics and its results.

  config.json     the config, as plain data
  run.json        data, code revision, versions, devices; one object a start, newest last
  reconstructions.png  of a tokenizer: images over what it makes of them, at the last evaluation
  metrics.jsonl   one object a line: `step` and named floats
  events.out.*    the same for TensorBoard
  results.jsonl   one object a line: what evaluation found
  events.jsonl    one object a line: starts, the memory of the step, and why each run ended
  checkpoints/    see checkpoint.py; corrupt/ holds what was found damaged
  evaluations.jsonl  one object a line: what maskrep.evaluate found, and all that it takes to repeat it
  features/       of maskrep.evaluate, to be used again; may be deleted
  evaluations/    workdirs of the runs that an evaluation trains
  lock            held by the run that is under way
"""

from collections import Counter
from collections.abc import Callable, Iterator
import contextlib
import fcntl
from importlib import metadata
import json
import logging
import os
from pathlib import Path
import platform
import socket
import subprocess
import sys
import tempfile
import time
from typing import BinaryIO

import jax
from ml_collections import ConfigDict

from maskrep.errors import CheckpointError, ConfigError

# Fields that may differ on resume: they change what is shown, kept or how fast, and what is computed only by round-off.
FREE_FIELDS = ('eval.', 'data.threads', 'data.download', 'data.stall_timeout_s', 'train.log_every_steps',
               'train.checkpoint_every_steps', 'train.keep_checkpoints', 'train.fsdp', 'encoder.remat', 'encoder.scan')
PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'grain', 'tensorflow-datasets', 'numpy')

log = logging.getLogger(__name__)


def prepare(workdir: Path) -> None:
  """Makes the folder and proves that it can be written.

  Raises:
    CheckpointError: it cannot.
  """
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=workdir) as probe:
      probe.write(b'probe')
      probe.flush()
      os.fsync(probe.fileno())
  except OSError as error:
    raise CheckpointError(f'--workdir={workdir}: cannot be written ({error.strerror}); give a folder on a disk with '
                      'space that you may write to') from error


def resumes(workdir: Path) -> bool:
  """Whether a run has been saved there."""
  return any(path.is_dir() and path.name.isdigit() for path in (workdir / 'checkpoints').glob('*'))


@contextlib.contextmanager
def held(workdir: Path) -> Iterator[None]:
  """Keeps other runs out of the workdir. The lock ends with the process, however that ends.

  Raises:
    CheckpointError: another run holds it.
  """
  with open(workdir / 'lock', 'a+') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      file.seek(0)
      raise CheckpointError(f'--workdir={workdir}: another run is under way there ({file.read().strip()}); wait for '
                            'it, stop it, or choose another --workdir') from error
    file.truncate(0)
    file.write(f'process {os.getpid()} on {socket.gethostname()} since {_now()}\n')
    file.flush()
    yield


@contextlib.contextmanager
def resting(workdir: Path) -> Iterator[None]:
  """Sees to it that no run is under way while others, any number at once, read.

  Raises:
    CheckpointError: a run is under way: what it will have saved next would be something else.
  """
  with contextlib.ExitStack() as stack:
    if (workdir / 'lock').exists():
      file = stack.enter_context(open(workdir / 'lock'))
      try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
      except BlockingIOError as error:
        raise CheckpointError(f'{workdir}: a run is under way there ({file.read().strip()}); wait for its end, or stop '
                              'it') from error
    yield


@contextlib.contextmanager
def recorded(workdir: Path, seconds: Callable[[], dict[str, float]]) -> Iterator[None]:
  """Appends to events.jsonl that a run started, and how it ended, with the `seconds` of its phases.

  Raises:
    CheckpointError: in place of an OSError: the workdir is full, gone or read-only.
  """
  record_event(workdir, 'start', process=os.getpid())
  error = None
  try:
    yield
  except OSError as failed:
    error = CheckpointError(f'--workdir={workdir}: cannot be written any more ({failed}); free space or mend the disk, '
                            'then run the same command: it goes on from the newest checkpoint')
    raise error from failed
  except BaseException as failed:
    error = failed
    raise
  finally:
    code = getattr(error, 'exit_code', 1) if error else 0
    reason = f'{type(error).__name__}: {error}' if error else 'finished'
    try:
      record_event(workdir, 'end', reason=reason, exit_code=code, seconds=seconds())
    except OSError as failed:  # the error on its way out says more
      log.warning('%s: the end of the run could not be recorded (%s)', workdir, failed)


def record_event(workdir: Path, event: str, **fields) -> None:
  append_json(workdir / 'events.jsonl', {'time': _now(), 'event': event} | fields)


def store_config(workdir: Path, config: ConfigDict, allowed: tuple[str, ...] = ()) -> None:
  """Stores the config of a new run; on resume, compares with the stored one.

  Raises:
    ConfigError: the batch size differs, or a field that is neither free nor named in `allowed`; the message is the
      diff.
  """
  path = workdir / 'config.json'
  new = config.to_dict()
  if path.exists():
    changed = diff(json.loads(path.read_text()), json.loads(json.dumps(new)))
    if 'batch_size' in changed:
      old, now = changed['batch_size']
      raise ConfigError(f'config.batch_size={now}: the run in --workdir={workdir} has {old}, and its place in the '
                        'data follows from that; keep it, or choose another --workdir')
    refused = {field: values for field, values in changed.items()
               if field not in allowed and not field.startswith(FREE_FIELDS)}
    if refused:
      lines = ''.join(f'\n  {field}: {old} -> {now}' for field, (old, now) in sorted(refused.items()))
      raise ConfigError(f'--workdir={workdir}: holds a run with another config:{lines}\nresume with the old values, '
                        f'choose another --workdir, or accept with --allow_config_change={",".join(sorted(refused))}')
  write_atomic(path, json.dumps(new, indent=1, sort_keys=True) + '\n')


def holds_run(workdir: Path) -> bool:
  return (workdir / 'config.json').exists() and (workdir / 'checkpoints').is_dir()


def load_config(workdir: Path) -> ConfigDict:
  """The stored config, locked, with tuples where the config file had tuples.

  Raises:
    ConfigError: there is none.
  """
  path = workdir / 'config.json'
  if not path.exists():
    raise ConfigError(f'--workdir={workdir}: holds no config.json; give the workdir of a run of main.py')
  as_tuples = {key: {name: tuple(value) if isinstance(value, list) else value for name, value in section.items()}
               if isinstance(section, dict) else section for key, section in json.loads(path.read_text()).items()}
  return ConfigDict(as_tuples).lock()


def diff(old: dict, new: dict, prefix: str = '') -> dict[str, tuple]:
  """{dotted field: (old, new)} for what differs; '(none)' where a side has no such field."""
  changed = {}
  for name in old.keys() | new.keys():
    a, b = old.get(name, '(none)'), new.get(name, '(none)')
    if isinstance(a, dict) and isinstance(b, dict):
      changed |= diff(a, b, f'{prefix}{name}.')
    elif a != b:
      changed[f'{prefix}{name}'] = (a, b)
  return changed


def describe_start(data: str) -> dict:
  """What this start runs on; `data` is the fingerprint of what training reads."""
  kinds = Counter(device.device_kind for device in jax.devices())
  return {
    'time': _now(),
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


def check_start(workdir: Path, now: dict, allowed: tuple[str, ...] = ()) -> None:
  """On resume, compares what a start runs on with the start before.

  Other code, versions or devices are allowed, with a warning: results then agree, but not bit for bit.

  Raises:
    ConfigError: the data are others, and `allowed` does not name 'data'.
  """
  path = workdir / 'run.json'
  if not path.exists():
    return
  changed = diff(json.loads(path.read_text().splitlines()[-1]), now)
  changed = {field: values for field, values in changed.items() if field not in ('time', 'command')}
  shown = ''.join(f'\n  {field}: {old} -> {new}' for field, (old, new) in sorted(changed.items()))
  if 'data' in changed and 'data' not in allowed:
    raise ConfigError(f'--workdir={workdir}: holds a run on other data:{shown}\nresume with the data of before, '
                      'choose another --workdir, or accept with --allow_config_change=data')
  if changed:
    log.warning('%s: resumed on something else, so that results agree, but not bit for bit:%s', workdir, shown)


def record_start(workdir: Path, now: dict) -> None:
  """Adds to run.json what this start runs on, whole or not at all: the next start reads it."""
  path = workdir / 'run.json'
  before = path.read_text() if path.exists() else ''
  write_atomic(path, before + json.dumps(now) + '\n')


def append_json(path: Path, record: dict) -> None:
  """Appends one line, whole: a single write of a file opened for appending."""
  with open(path, 'a') as file:
    file.write(json.dumps(record) + '\n')


def read_json(path: Path) -> tuple[list[dict], list[int]]:
  """The objects of a file of one a line, and the numbers, from 1, of lines that are none: one that a kill cut off."""
  records, damaged = [], []
  for number, line in enumerate(path.read_text(errors='replace').splitlines() if path.exists() else (), 1):
    try:
      record = json.loads(line)
    except ValueError:
      record = None
    if isinstance(record, dict):
      records.append(record)
    else:
      damaged.append(number)
  return records, damaged


def write_atomic(path: Path, content: str | bytes) -> None:
  """Replaces a file: readers see the old or the new content, never a part."""
  with replacing(path) as file:
    file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
  """A file to write to, which takes the place of `path` when all is written, and is removed where that fails."""
  partial = path.with_name(f'{path.name}.{os.getpid()}.partial')
  try:
    with open(partial, 'wb') as file:
      yield file
      file.flush()
      os.fsync(file.fileno())
    partial.replace(path)
  finally:
    partial.unlink(missing_ok=True)


def _now() -> str:
  return time.strftime('%Y-%m-%dT%H:%M:%S%z')


def _git(*arguments: str) -> str | None:
  """Output of a git command on the code's own checkout; None where it is not one."""
  command = ['git', '-C', str(Path(__file__).parent), *arguments]
  try:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    return None
