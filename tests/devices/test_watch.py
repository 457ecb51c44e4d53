"""Processes that meet and watch each other: small ones, without jax."""

import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.support.processes import ROOT, free_port

PROCESS = '''
import ctypes, os, sys, time
from maskrep.devices import meeting, watch
process, processes, port, timeout_s = map(int, sys.argv[1:5])
me = meeting.Hello(process=process, processes=processes)
try:
  if process == 0:
    with meeting.listen(port) as listener:
      peers = meeting.receive(listener, me, timeout_s)
  else:
    peers = [meeting.join(['localhost'], port, me, timeout_s)]
except Exception as error:
  sys.exit(f'{type(error).__name__}: {error}')
watch.start(peers, first=process == 0, silence_s=5)
print('met', flush=True)
'''


def start(process: int, processes: int, port: int, then: str = '', timeout_s: int = 20) -> subprocess.Popen:
  return subprocess.Popen(
    [sys.executable, '-c', PROCESS + then, *map(str, (process, processes, port, timeout_s))], cwd=ROOT,
    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def met(*then: str) -> list[subprocess.Popen]:
  """One process per script, that have met."""
  port = free_port()
  started = [start(index, len(then), port, script) for index, script in enumerate(then)]
  for process in started:
    assert process.stdout.readline() == 'met\n', process.communicate()
  return started


def ends(processes: list[subprocess.Popen]) -> tuple[list[int], list[str]]:
  """Exit codes and standard errors."""
  errors = [process.communicate(timeout=30)[1] for process in processes]
  return [process.returncode for process in processes], errors


WORK, FINISH = 'time.sleep(60)', 'sys.exit(watch.leave(0))'
LINE = 'maskrep: process {} on ' + socket.gethostname()


def test_processes_that_finish_wait_for_each_other():
  codes, errors = ends(met('time.sleep(2); ' + FINISH, FINISH, 'time.sleep(1);' + FINISH))
  assert codes == [0, 0, 0] and not any(errors)


@pytest.mark.parametrize('lost', [0, 1])
def test_a_killed_process_ends_the_others(lost):
  processes = met(WORK, WORK, WORK)
  since = time.monotonic()
  processes.pop(lost).kill()
  codes, errors = ends(processes)
  assert codes == [6, 6] and time.monotonic() - since < 15
  assert all(error.strip().startswith(LINE.format(lost) + ' is lost: its connection was closed') for error in errors)


def test_a_process_that_stands_still_ends_the_others_and_itself_when_it_goes_on():
  processes = met(WORK, WORK, WORK)
  processes[1].send_signal(signal.SIGSTOP)
  codes, errors = ends([processes[0], processes[2]])
  assert codes == [6, 6] and all(LINE.format(1) + ' is lost: it was silent for 5 s' in error for error in errors)
  processes[1].send_signal(signal.SIGCONT)
  assert ends([processes[1]])[0] == [6]


@pytest.mark.slow
def test_a_job_that_is_suspended_goes_on():
  processes = met(*['time.sleep(13);' + FINISH] * 2)
  for number, seconds in ((signal.SIGSTOP, 8), (signal.SIGCONT, 0)):
    for process in processes:
      process.send_signal(number)
    time.sleep(seconds)
  assert ends(processes)[0] == [0, 0]


@pytest.mark.parametrize('failed', [0, 2])
def test_an_error_of_one_ends_the_others_with_its_code(failed):
  scripts = [WORK] * 3
  scripts[failed] = 'watch.leave(3)'
  codes, errors = ends(met(*scripts))
  assert codes == [3, 3, 3]
  assert errors.pop(failed) == ''  # it has had its own line
  assert all(error.strip() == LINE.format(failed) + ' ended with exit code 3, and the run with it' for error in errors)


def test_all_that_stop_for_one_reason_say_so_themselves():
  codes, errors = ends(met('watch.leave(75)', 'time.sleep(2); watch.leave(75)', 'time.sleep(1); watch.leave(75)'))
  assert codes == [75, 75, 75] and not any(errors)


def test_an_error_of_one_keeps_it_until_the_others_have_ended():
  """Else collectives with it would fail in the others, before they have its line."""
  processes = met(WORK, 'watch.leave(3)', WORK)
  time.sleep(2)
  assert [process.poll() for process in processes] == [None] * 3
  assert ends(processes)[0] == [3, 3, 3]


def test_the_run_has_failed_if_its_last_process_fails():
  assert ends(met(FINISH, 'time.sleep(1); watch.leave(4)', FINISH))[0] == [4, 4, 4]


def test_an_abort_because_of_a_lost_process_waits_for_the_explanation():
  processes = met(WORK, 'time.sleep(0.5); ctypes.CDLL(None).abort()', WORK)
  time.sleep(1)
  processes.pop(0).kill()
  codes, errors = ends(processes)
  assert codes == [6, 6] and all(LINE.format(0) + ' is lost' in error for error in errors)


@pytest.mark.slow
def test_any_other_abort_is_one():
  processes = met(WORK, 'ctypes.CDLL(None).abort()')
  codes, errors = ends(processes)
  assert codes == [6, -signal.SIGABRT] and LINE.format(1) + ' is lost' in errors[0]
