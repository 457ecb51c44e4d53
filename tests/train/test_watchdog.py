"""The watchdog ends a process whose step does not end: in small processes, with limits of a second."""

import signal
import subprocess
import sys
import time

import pytest

from tests.support.processes import ROOT

pytestmark = pytest.mark.quick

STEPS = '''
import time
from maskrep.devices import watch
from maskrep.train import watchdog
watchdog.LEAST_S, watchdog.TICK_S = {least}, 0.1
def compute(seconds):
  time.sleep(seconds)
def record(reason, code):
  print(code, reason, flush=True)
with watch.at_end(record), watchdog.Watchdog() as dog:
  for number, seconds in enumerate({seconds}, 1):
    with dog.step(number):
      print('step', flush=True)
      compute(seconds)
    time.sleep({between})
print('finished')
'''


def start(seconds: list[float], *, least: float = 1, between: float = 0) -> subprocess.Popen:
  return subprocess.Popen(
    [sys.executable, '-c', STEPS.format(seconds=seconds, least=least, between=between)], cwd=ROOT,
    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_step_that_never_ends_gives_the_stacks_and_exit_6():
  process = start([0.01, 0.01, 1000])
  since = time.monotonic()
  out, said = process.communicate(timeout=20)
  assert process.returncode == 6 and time.monotonic() - since < 10
  line = ('step 3 did not end within 1 s; the stacks of all threads are above; run the same command to go on from the '
          'newest checkpoint')
  *stacks, last = said.strip().splitlines()
  assert last == f'maskrep: {line}' and out.splitlines()[-1] == f'6 {line}'
  assert any('in compute' in each for each in stacks) and sum('hread 0x' in each for each in stacks) >= 2


def test_what_is_long_between_steps_or_among_long_steps_is_no_hang():
  """Here the limit is 20 x 0.1 s; the pauses are evaluations and saves."""
  processes = [start([0.1, 0.1, 0.1, 1.2], least=0.5), start([0.01, 0.01], least=0.5, between=1)]
  for process in processes:
    out, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (0, '') and out.endswith('finished\n')


def test_a_job_that_is_suspended_goes_on():
  process = start([1.5], least=2)
  assert process.stdout.readline() == 'step\n'
  process.send_signal(signal.SIGSTOP)
  time.sleep(2.5)
  process.send_signal(signal.SIGCONT)
  out, said = process.communicate(timeout=20)
  assert (process.returncode, out, said) == (0, 'finished\n', '')
