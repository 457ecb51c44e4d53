"""A run on a bad day: its console goes away, it is stopped twice, while it compiles or evaluates, or with its sweep."""

import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import pytest

from tests.support.processes import ROOT, SMALL, records, saved, start, wait_for_step

LONG = '--config.train.epochs=1000.0', '--config.train.checkpoint_every_steps=1000000'


def wait_for(condition, process: subprocess.Popen) -> None:
  while not condition():
    assert process.poll() is None, process.communicate()
    time.sleep(0.05)


def end(workdir: Path) -> tuple[int, str]:
  last = records(workdir, 'events.jsonl')[-1]
  return last['exit_code'], last['reason']


def test_without_its_console_it_goes_on_and_two_signals_at_once_are_one(tmp_path):
  process = start(tmp_path, *LONG, '--config.eval.every_steps=1000000')
  wait_for_step(tmp_path, process, 2)
  process.stdout.close()
  process.stderr.close()
  shown = records(tmp_path, 'metrics.jsonl')[-1]['step']
  time.sleep(1)  # the bar is drawn anew
  wait_for_step(tmp_path, process, shown + 20)
  for _ in range(3):
    process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
  assert process.wait(timeout=30) == 75
  step, = saved(tmp_path)
  assert end(tmp_path) == (
    75, f'Preempted: stopped by SIGTERM after step {step}, which is saved; run the same command to resume')
  assert records(tmp_path, 'metrics.jsonl')[-1]['step'] == step


def test_told_to_stop_while_it_compiles(tmp_path):
  """The network is large enough that XLA works on it for longer than this may take."""
  process = start(tmp_path / 'run', '--config.encoder.depth=12', '--config.encoder.width=256',
                  JAX_COMPILATION_CACHE_DIR=str(tmp_path / 'cache'), JAX_DISABLE_MOST_OPTIMIZATIONS='0')
  wait_for((tmp_path / 'run' / 'parameters.txt').exists, process)
  time.sleep(3)  # the state is made
  process.send_signal(signal.SIGHUP)
  _, said = process.communicate(timeout=4)
  assert process.returncode == 75 and 'stopped by SIGHUP; there was nothing to save' in said and 'Traceback' not in said
  assert end(tmp_path / 'run')[0] == 75 and [each['event'] for each in records(tmp_path / 'run', 'events.jsonl')] == [
    'start', 'end']


# Evaluating is one call that does not return to Python, as a compilation, for more than 20 s.
EVALUATES = """
import hashlib, pathlib, sys
from maskrep.evaluation import of_run
def during(self, state):
  pathlib.Path(sys.argv[1].removeprefix('--workdir='), 'evaluating').touch()
  hashlib.pbkdf2_hmac('sha256', b'', b'', 2**26)
of_run.RunEvaluator.during = during
from maskrep.process.entry import run_process
run_process('maskrep.cli.train', ['main.py', *sys.argv[1:]])
"""


def test_told_to_stop_while_it_evaluates_it_saves_first(tmp_path):
  process = start(tmp_path, *LONG, '--config.eval.every_steps=3', program=('-c', EVALUATES))
  wait_for((tmp_path / 'evaluating').exists, process)
  process.send_signal(signal.SIGINT)
  _, said = process.communicate(timeout=10)
  assert process.returncode == 75 and 'stopped by SIGINT after step 3, which is saved' in said
  assert saved(tmp_path) == [3] and end(tmp_path)[0] == 75
  assert records(tmp_path, 'metrics.jsonl')[-1]['step'] == 3


def test_a_sweep_that_is_killed_takes_its_run_with_it(tmp_path):
  sweep = subprocess.Popen(
    [sys.executable, '-m', 'maskrep', 'sweep', *SMALL, *LONG, '--grid=seed=0', f'--workdir={tmp_path}'], cwd=ROOT,
    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
  run = tmp_path / 'seed=0'
  wait_for_step(run, sweep, 2)
  pid = records(run, 'events.jsonl')[0]['process']
  sweep.kill()
  sweep.wait()
  deadline = time.monotonic() + 30
  while Path(f'/proc/{pid}').exists():
    if time.monotonic() > deadline:
      os.kill(pid, signal.SIGKILL)
      raise AssertionError('the run goes on')
    time.sleep(0.1)
  code, reason = end(run)
  assert code == 75 and 'stopped by SIGTERM after step' in reason and saved(run)


# In the fifth step the device waits for a call of the host that does not return.
HANGS = """
import sys, time
import jax
from maskrep.methods.msn import MSN
from maskrep.train import watchdog
watchdog.LEAST_S = 3
steps, loss = [], MSN.loss
def never_returns(value):
  steps.append(None)
  if len(steps) == 5:
    time.sleep(1e6)
  return value
def hangs(self, *args, **kwargs):
  value, aux = loss(self, *args, **kwargs)
  shape = jax.ShapeDtypeStruct(value.shape, value.dtype)
  return value + 0 * jax.pure_callback(never_returns, shape, jax.lax.stop_gradient(value)), aux
MSN.loss = hangs
from maskrep.process.entry import run_process
run_process('maskrep.cli.train', ['main.py', *sys.argv[1:]])
"""


@pytest.mark.slow
def test_a_step_that_hangs_ends_the_run_which_then_goes_on(tmp_path):
  flags = '--config.train.epochs=0.4', '--config.train.checkpoint_every_steps=2'
  process = start(tmp_path, *flags, '--config.eval.every_steps=1000', program=('-c', HANGS))
  _, said = process.communicate(timeout=120)
  assert process.returncode == 6 and 'hread 0x' in said and 'never_returns' in said, said
  code, reason = end(tmp_path)
  assert code == 6 and 'did not end within 3 s; the stacks of all threads are above' in reason
  assert reason in said and saved(tmp_path) == [2, 4]
  process = start(tmp_path, *flags)
  assert process.communicate(timeout=120) and process.returncode == 0 and saved(tmp_path)[-1] == 9


# As in a container whose user has no entry in /etc/passwd and no home.
NOBODY = """
import pwd
def nobody(*_):
  raise KeyError('no entry')
pwd.getpwuid = pwd.getpwnam = nobody
import runpy, sys
sys.argv = ['main.py', *sys.argv[1:]]
runpy.run_path('main.py', run_name='__main__')
"""


@pytest.mark.slow
def test_without_a_home_and_with_letters_that_the_locale_does_not_have(tmp_path, monkeypatch):
  for name in ('HOME', 'JAX_COMPILATION_CACHE_DIR'):
    monkeypatch.delenv(name, raising=False)
  workdir = tmp_path / 'Läufe'
  process = start(workdir, '--config.train.epochs=0.05', '--config.eval.lowshot.labels_per_class=(1,)',
                  program=('-c', NOBODY), LC_ALL='POSIX')
  said = process.communicate()
  assert process.returncode == 0, said
  assert end(workdir) == (0, 'finished') and saved(workdir)
  assert not (ROOT / '~').exists() and os.environ.get('HOME') is None
