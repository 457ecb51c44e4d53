"""Two processes on this machine, by the same flags as on many; and what the flags refuse."""

import signal
import time

import pytest

from maskrep.devices.distributed import cluster, initialize
from maskrep.errors import ConfigError
from tests.support.processes import records, saved, start, start_two, wait_for_step

STEPS = 40
# Adam divides by the root of tiny squares: round-off grows from step to step, less so in small steps.
RUN = (f'--config.train.epochs={STEPS * 64 / 1438}', '--config.optim.learning_rate=1e-5',
       '--config.optim.warmup_learning_rate=1e-5')
LONG = '--config.train.epochs=1000.0'
# Seconds after which a process that stands still is given up: 60 are too many for a test.
IMPATIENT = '-c', """import sys
from maskrep.devices import distributed
distributed.HEARTBEAT_S = 10
from maskrep.cli import train
train.exit_process(train.main(['main.py', *sys.argv[1:]]))"""


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
  """The metrics of a run in one process."""
  workdir = tmp_path_factory.mktemp('alone')
  process = start(workdir, *RUN)
  assert process.communicate() and process.returncode == 0
  return records(workdir, 'metrics.jsonl')


def assert_same_run(found: list[dict], expected: list[dict]) -> None:
  assert [record['step'] for record in found] == [record['step'] for record in expected] == list(range(1, STEPS + 1))
  for a, b in zip(found, expected, strict=True):
    assert a['loss'] == pytest.approx(b['loss'], rel=1e-4)
  assert found[-1]['eval/knn'] == pytest.approx(expected[-1]['eval/knn'], abs=0.02)


def test_two_processes_train_as_one(alone, tmp_path):
  two = start_two(tmp_path, *RUN)
  said = [process.communicate(timeout=300) for process in two]
  assert [process.returncode for process in two] == [0, 0], said
  assert '2 process(es), 2 device(s)' in said[0][0] and 'trained' in said[0][0] and 'trained' not in said[1][0]
  assert_same_run(records(tmp_path, 'metrics.jsonl'), alone)


def test_one_of_two_told_to_stop_stops_both_and_one_alone_goes_on(alone, tmp_path):
  two = start_two(tmp_path, *RUN)
  wait_for_step(tmp_path, two[0], 2)
  two[1].send_signal(signal.SIGTERM)
  said = [process.communicate(timeout=60) for process in two]
  assert [process.returncode for process in two] == [75, 75], said
  step, = saved(tmp_path)
  assert 2 <= step < STEPS and all(f'after step {step},' in errors for _, errors in said)
  last = start(tmp_path, *RUN)
  assert 'processes: 2 -> 1' in last.communicate()[1] and last.returncode == 0
  assert_same_run(records(tmp_path, 'metrics.jsonl'), alone)


@pytest.mark.parametrize(('rank', 'number'), [
  pytest.param(0, signal.SIGKILL, id='0 killed', marks=pytest.mark.slow),
  pytest.param(1, signal.SIGKILL, id='1 killed', marks=pytest.mark.slow),
  pytest.param(1, signal.SIGSTOP, id='1 stopped')])
def test_where_one_is_gone_the_other_ends(rank, number, tmp_path):
  two = start_two(tmp_path, LONG, program=IMPATIENT)
  try:
    wait_for_step(tmp_path, two[0], 3)
    two[rank].send_signal(number)
    since = time.monotonic()
    _, said = two[1 - rank].communicate(timeout=60)
    print(f'{time.monotonic() - since:.1f} s: {said[-600:]}')
    assert two[1 - rank].returncode not in (0, 75)
  finally:
    for process in two:
      process.kill()


def test_a_process_that_finds_no_other_ends(tmp_path):
  lone = start(tmp_path / 'run', '--coordinator=localhost:1', '--num_processes=2', '--process_id=1',
                '--start_timeout_s=3')
  _, said = lone.communicate(timeout=100)
  assert lone.returncode == 2 and '--coordinator=localhost:1' in said and 'Traceback' not in said, said


def test_half_of_the_flags_is_refused():
  with pytest.raises(ConfigError, match='--num_processes: is missing'):
    initialize('localhost:1', None, 0, 3)
  with pytest.raises(ConfigError, match='--process_id=2'):
    initialize('localhost:1', 2, 2, 3)


@pytest.mark.parametrize(('variables', 'name'), [
  ({}, ''), ({'SLURM_STEP_NUM_TASKS': '1'}, ''), ({'SLURM_STEP_NUM_TASKS': '16'}, 'SLURM'),
  ({'OMPI_COMM_WORLD_SIZE': '2'}, 'Open MPI'), ({'TPU_WORKER_HOSTNAMES': 'a'}, ''),
  ({'TPU_WORKER_HOSTNAMES': 'a,b'}, 'TPU pod'),
  ({'KUBERNETES_SERVICE_HOST': '10.0.0.1', 'JOB_COMPLETION_INDEX': '0'}, 'Kubernetes')])
def test_clusters_are_known_by_their_environment(variables, name, monkeypatch):
  monkeypatch.setattr('os.environ', variables)
  assert cluster() == name
