"""Signals to a command, in processes that import no jax: what they end at once, and what they wait for."""

import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.quick

ROOT = Path(__file__).parent.parent.parent
START = 'import sys; from maskrep.process.entry import run_process; run_process("program", sys.argv)'
# `compute` is one call that does not return to Python, as a compilation: 20 s and more.
COMMON = '''
import hashlib, sys, time
from maskrep.errors import Preempted
from maskrep.process import signals
signals.PATIENCE_S = 1
def compute():
  print('ready', flush=True)
  hashlib.pbkdf2_hmac('sha256', b'', b'', 2**26)
def tidy(error):
  print('tidied after', error.exit_code, flush=True)
'''


@pytest.fixture
def program(tmp_path):
  """Starts a process whose main is `body`, and waits for its first line, 'ready'."""
  started = []

  def start(body: str, **options) -> subprocess.Popen:
    indented = ''.join(f'  {line}\n' for line in body.strip().splitlines())
    (tmp_path / 'program.py').write_text(f'{COMMON}def main(argv):\n{indented}')
    process = subprocess.Popen(
      [sys.executable, '-c', START], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
      env=os.environ | {'PYTHONPATH': f'{ROOT}:{tmp_path}'}, **options)
    started.append(process)
    assert process.stdout.readline() == 'ready\n', process.communicate()
    return process

  yield start
  for process in started:
    process.kill()
    process.communicate()


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
def test_a_signal_in_a_long_call_ends_the_process_at_once(program, number):
  process = program('with signals.last_act(tidy):\n  compute()')
  process.send_signal(number)
  out, said = process.communicate(timeout=5)
  assert process.returncode == 75 and out == 'tidied after 75\n'
  assert said == (f'\nmaskrep: stopped by {number.name}; there was nothing to save; run the same '
                  'command to go on\n')


def test_an_interrupt_before_a_command_begins_is_no_traceback():
  code = 'import maskrep.process.entry, os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(9)'
  done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
  assert (done.returncode, done.stderr) == (-signal.SIGINT, '')


@pytest.mark.parametrize('command', [['main.py'], ['-m', 'maskrep', 'train']], ids=' '.join)
@pytest.mark.parametrize('seconds', [0.5, 1.5])
def test_an_interrupt_while_a_command_imports_is_one_line(command, seconds, tmp_path):
  process = subprocess.Popen([sys.executable, *command, '--config=configs/msn_digits.py', f'--workdir={tmp_path}/run'],
                             cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
  time.sleep(seconds)
  process.send_signal(signal.SIGINT)
  _, said = process.communicate(timeout=5)
  # On a busy machine Python may not have come to the command by then.
  assert (process.returncode, said.strip()[:26]) in ((75, 'maskrep: stopped by SIGINT'), (-signal.SIGINT, '')), said


def test_a_signal_that_a_library_took_is_taken_back(program):
  process = program('''
import signal
signal.signal(signal.SIGTERM, lambda *_: print('the library', flush=True))
signals.retake(signal.SIGTERM)
compute()
''')
  process.send_signal(signal.SIGTERM)
  assert process.communicate(timeout=5)[0] == '' and process.returncode == 75


@pytest.mark.parametrize(('last', 'code'), [
  (signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 138), (signal.SIGHUP, 129)])
def test_a_second_signal_waits_until_somebody_must_mean_it(program, last, code):
  process = program('with signals.last_act(tidy), signals.answered(lambda name: print(name, flush=True)):\n  compute()')
  for number in (signal.SIGTERM, signal.SIGTERM, last):
    process.send_signal(number)
    time.sleep(0.15)
  time.sleep(1)
  assert process.poll() is None
  process.send_signal(last)
  out, said = process.communicate(timeout=5)
  assert process.returncode == code and out == f'SIGTERM\ntidied after {code}\n'
  assert said.count('ignored, as the run is stopping already; to end it at once, send a signal 1 s after') == 2
  assert f'or kill -9 {process.pid}' in said and f'ended by a second {last.name}, before all was saved' in said


def test_what_answers_may_end_the_process_and_the_main_thread_waits_for_it(program):
  process = program('''
def save(name):
  time.sleep(0.5)
  raise Preempted('saved after ' + name)
with signals.answered(save):
  print('ready', flush=True)
  time.sleep(0.4)
print('must not be reached', flush=True)
''')
  process.send_signal(signal.SIGTERM)
  out, said = process.communicate(timeout=5)
  assert (process.returncode, out, said) == (75, '', '\nmaskrep: saved after SIGTERM\n')


def test_a_process_that_ends_keeps_its_exit_code(program):
  process = program('''
import atexit
atexit.register(time.sleep, 0.5)
print('ready', flush=True)
time.sleep(0.2)
return 5
''')
  time.sleep(0.4)  # it has returned
  process.send_signal(signal.SIGTERM)
  assert process.communicate(timeout=5) == ('', '') and process.returncode == 5


def test_nohup_is_respected(program):
  process = program('print("ready", flush=True); time.sleep(0.3)',
                    preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
  process.send_signal(signal.SIGHUP)
  assert process.communicate(timeout=5) == ('', '') and process.returncode == 0


SWEEP = '''
import subprocess, sys, time
from maskrep.process import parent
child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], env=parent.bound_to_me(), start_new_session=True)
time.sleep(60)
'''


@pytest.mark.skipif(sys.platform != 'linux', reason='the kernel of Linux sends this signal')
def test_a_process_is_told_to_stop_when_its_parent_is_killed(tmp_path):
  (tmp_path / 'program.py').write_text(f'{COMMON}def main(argv):\n  compute()\n')
  first = subprocess.Popen([sys.executable, '-c', SWEEP, START], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           text=True, env=os.environ | {'PYTHONPATH': f'{ROOT}:{tmp_path}'})
  assert first.stdout.readline() == 'ready\n'
  first.kill()
  _, said = first.communicate(timeout=5)  # ends when the child has closed the pipe too
  assert 'stopped by SIGTERM' in said


def test_a_quit_shows_the_stacks_and_the_process_goes_on(program):
  process = program('print("ready", flush=True)\ntime.sleep(1)\nreturn 5')
  process.send_signal(signal.SIGQUIT)
  _, said = process.communicate(timeout=5)
  assert process.returncode == 5 and 'in main' in said and said.count('hread 0x') == 2
