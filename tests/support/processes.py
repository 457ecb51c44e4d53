"""Runs of main.py as their user starts them, small enough that a process costs seconds."""

import contextlib
import json
import os
from pathlib import Path
import re
import resource
import signal
import socket
import subprocess
import sys
import time

ROOT = Path(__file__).parent.parent.parent
SMALL = ['--config=configs/msn_digits.py', '--config.encoder.width=16', '--config.encoder.depth=1',
         '--config.encoder.heads=1', '--config.head.hidden=16', '--config.views.num_focal=1',
         '--config.train.log_every_steps=1', '--config.eval.max_train_examples=128', '--config.eval.baselines=()']


def start(workdir: Path, *flags: str, program: tuple[str, ...] = ('main.py',), **env: str) -> subprocess.Popen:
  return subprocess.Popen(
    [sys.executable, *program, f'--workdir={workdir}', *SMALL, *flags], cwd=ROOT, stdout=subprocess.PIPE,
    stderr=subprocess.PIPE, text=True, env=os.environ | env)


def start_two(workdir: Path, *flags: str, **options) -> list[subprocess.Popen]:
  """Two processes of one run, that find each other on this machine."""
  where = f'--coordinator=localhost:{free_port()}'
  return [start(workdir, where, '--num_processes=2', f'--process_id={i}', *flags, **options) for i in range(2)]


def start_pair(first: dict, second: dict) -> list[subprocess.Popen]:
  """The same of two that differ: arguments of `start`, with `flags`."""
  where = f'--coordinator=localhost:{free_port()}'
  return [start(each.pop('workdir'), where, '--num_processes=2', f'--process_id={i}', *each.pop('flags', ()), **each)
          for i, each in enumerate((first, second))]


def free_port() -> int:
  with socket.socket() as probe:
    probe.bind(('localhost', 0))
    return probe.getsockname()[1]


def wait_for_step(workdir: Path, process: subprocess.Popen, step: int) -> None:
  path = workdir / 'metrics.jsonl'
  while not path.exists() or path.read_text().count('\n') < step:
    assert process.poll() is None, process.communicate()
    time.sleep(0.1)


def records(workdir: Path, name: str) -> list[dict]:
  return [json.loads(line) for line in (workdir / name).read_text().splitlines()]


def saved(workdir: Path) -> list[int]:
  return sorted(int(path.name) for path in workdir.glob('checkpoints/*') if re.fullmatch('[0-9]+', path.name))


@contextlib.contextmanager
def files_end_at(size: int):
  """As on a full disk, a write past `size` bytes of a file fails."""
  old = resource.getrlimit(resource.RLIMIT_FSIZE)
  handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, old)
    signal.signal(signal.SIGXFSZ, handler)
