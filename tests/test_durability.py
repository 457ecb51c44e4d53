"""A run as its user meets it: told to stop, started twice, poisoned. Each process costs seconds: few of them."""

import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import jax.numpy as jnp
import pytest

from configs import msn_digits
from maskrep import run as running
from maskrep.errors import NonFiniteError
from maskrep.objectives.msn import MSN
from tests.tiny import shrink

ROOT = Path(__file__).parent.parent
STAMP = '%Y-%m-%dT%H:%M:%S%z'
SMALL = ['--config.encoder.width=16', '--config.encoder.depth=1', '--config.encoder.heads=1', '--config.head.hidden=16',
         '--config.views.num_focal=1', '--config.train.log_every_steps=1', '--config.eval.every_steps=100000']


def start(workdir: Path, *more: str) -> subprocess.Popen:
  return subprocess.Popen(
    [sys.executable, 'main.py', '--config=configs/msn_digits.py', f'--workdir={workdir}', *SMALL, *more], cwd=ROOT,
    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_step(workdir: Path, process: subprocess.Popen, step: int) -> None:
  path = workdir / 'metrics.jsonl'
  while not path.exists() or path.read_text().count('\n') < step:
    assert process.poll() is None, process.communicate()
    time.sleep(0.1)


def events(workdir: Path) -> list[dict]:
  return [json.loads(line) for line in (workdir / 'events.jsonl').read_text().splitlines()]


def test_told_to_stop_it_saves_and_says_so_and_a_second_run_is_kept_out(tmp_path):
  process = start(tmp_path)
  wait_for_step(tmp_path, process, 3)
  other = start(tmp_path)
  _, refused = other.communicate()
  assert other.returncode == 4 and f'process {process.pid} ' in refused and 'Traceback' not in refused
  process.send_signal(signal.SIGTERM)
  _, said = process.communicate()
  assert process.returncode == 75, said
  assert 'stopped by SIGTERM after step' in said and 'Traceback' not in said
  saved = max(int(name) for name in os.listdir(tmp_path / 'checkpoints') if name.isdigit())
  assert f'after step {saved},' in said
  _, began, end = events(tmp_path)
  assert began['event'] == 'began' and began['step'] == 1 and end['exit_code'] == 75
  # Every second counts once.
  lasted = time.mktime(time.strptime(end['time'], STAMP)) - time.mktime(time.strptime(began['time'], STAMP))
  assert abs(sum(end['seconds'].values()) - sum(began['seconds'].values()) - lasted) < 2
  assert json.loads((tmp_path / 'metrics.jsonl').read_text().splitlines()[-1])['step'] == saved


def test_loss_that_is_not_finite_ends_the_run_by_name(tmp_path, monkeypatch):
  sound = MSN.loss

  def poisoned(self, *args, **kwargs):
    value, aux = sound(self, *args, **kwargs)
    return value * jnp.inf, aux

  monkeypatch.setattr(MSN, 'loss', poisoned)
  with pytest.raises(NonFiniteError, match=r'step 3: 3 updates in a row .*loss=.*digit \d+'):
    running.run(shrink(msn_digits.get_config(), steps=8), tmp_path)
  assert events(tmp_path)[-1]['exit_code'] == 5
