"""Two processes on this machine, by the same flags as on many; and what the flags refuse."""

import random
import signal
import socket
import time

import pytest

from maskrep.devices.distributed import cluster, initialize
from maskrep.errors import ConfigError, PeerLost
from maskrep.workdir.lock import exclusive_lock
from tests.support.processes import free_port, records, saved, start, start_pair, start_two, wait_for_step

STEPS = 40
# Adam divides by the root of tiny squares: round-off grows from step to step, less so in small steps.
RUN = (f'--config.train.epochs={STEPS * 64 / 1438}', '--config.optim.learning_rate=1e-5',
       '--config.optim.warmup_learning_rate=1e-5')
LONG = '--config.train.epochs=1000.0'
# Seconds after which a process that stands still is given up: 60 are too many for a test.
IMPATIENT = '-c', """import sys
from maskrep.devices import distributed
distributed.HEARTBEAT_S = 10
from maskrep.process.entry import run_process
run_process('maskrep.cli.train', ['main.py', *sys.argv[1:]])"""


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
def test_where_one_is_lost_the_other_ends_with_a_line(rank, number, tmp_path):
  two = start_two(tmp_path, LONG, program=IMPATIENT)
  try:
    wait_for_step(tmp_path, two[0], 3)
    two[rank].send_signal(number)
    since = time.monotonic()
    _, said = two[1 - rank].communicate(timeout=60)
    assert two[1 - rank].returncode == PeerLost.exit_code, said
    assert time.monotonic() - since < (5 if number == signal.SIGKILL else 20)
    assert f'maskrep: process {rank} on {socket.gethostname()} is lost: ' in said and 'Traceback' not in said
  finally:
    for process in two:
      process.kill()
  if rank:
    assert records(tmp_path, 'events.jsonl')[-1]['exit_code'] == PeerLost.exit_code


def start_in_cluster(workdir, *flags, **options):
  """Two processes by Open MPI's environment, which stands for all clusters."""
  job = f'{random.randrange(2**20, 2**21)}.0;tcp://127.0.0.1:1'
  return [start(workdir, *flags, OMPI_MCA_orte_hnp_uri=job, OMPI_COMM_WORLD_SIZE='2', OMPI_COMM_WORLD_RANK=str(rank),
                OMPI_COMM_WORLD_LOCAL_RANK=str(rank), **options) for rank in range(2)]


def test_processes_of_a_cluster_watch_each_other(tmp_path):
  two = start_in_cluster(tmp_path, LONG)
  wait_for_step(tmp_path, two[0], 2)
  two[1].kill()
  _, said = two[0].communicate(timeout=20)
  assert two[0].returncode == PeerLost.exit_code and 'process 1 on ' in said and 'Traceback' not in said, said


@pytest.mark.slow
def test_a_cluster_in_which_they_cannot_connect_trains_with_a_warning(tmp_path):
  two = start_in_cluster(tmp_path, '--config.train.epochs=0.1', program=UNREACHABLE)
  said = [process.communicate(timeout=120)[1] for process in two]
  assert [process.returncode for process in two] == [0, 0], said
  assert 'cannot watch each other' in said[0] and 'No route' in said[0] and 'cannot watch' not in said[1], said


@pytest.mark.slow
def test_a_process_of_a_cluster_that_finds_no_other_ends(tmp_path):
  first, second = start_in_cluster(tmp_path, '--start_timeout_s=8')
  second.kill()
  _, said = first.communicate(timeout=60)
  assert first.returncode == 2 and 'Open MPI environment: the processes did not find each other within 8 s' in said


UNREACHABLE = '-c', """import sys
from maskrep.devices import meeting
def join(*_):
  raise OSError('No route to host')
meeting.join = join
from maskrep.process.entry import run_process
run_process('maskrep.cli.train', ['main.py', *sys.argv[1:]])"""
FAILS_LATER = '-c', """import sys
from maskrep.errors import DataError
from maskrep.train import progress
update = progress.Progress.update
def fails(self, step, *arguments):
  if step == 3 and '--process_id=1' in sys.argv:
    raise DataError('the disk is gone')
  update(self, step, *arguments)
progress.Progress.update = fails
from maskrep.process.entry import run_process
run_process('maskrep.cli.train', ['main.py', *sys.argv[1:]])"""
OTHER_DATA = '-c', """import sys
from maskrep.data import loader
loader.ORDER = 'another'
from maskrep.process.entry import run_process
run_process('maskrep.cli.train', ['main.py', *sys.argv[1:]])"""


@pytest.mark.parametrize(('second', 'code', 'line'), [
  pytest.param({'flags': ['--config.optim.learning_rate=0.003', '--config.data.threads=1']}, 2,
               'config.optim.learning_rate=0.003: in process 1 on HOST, and 0.002 in process 0 on HOST', id='config'),
  pytest.param({'flags': ['--config.optim.learning_rate=-1.0']}, 2,
               'config.optim.learning_rate=-1.0', id='a config that is wrong', marks=pytest.mark.slow),
  pytest.param({'workdir': 'another'}, 4, 'another: is not the folder of process 0', id='workdir'),
  pytest.param({'program': OTHER_DATA}, 2, 'order another": in process 1', id='data', marks=pytest.mark.slow),
  pytest.param({'XLA_FLAGS': '--xla_force_host_platform_device_count=2'}, 2,
               'process 1 has 2 device(s), and process 0 has 1', id='devices', marks=pytest.mark.slow),
  pytest.param({'flags': ['--num_processes=3']}, 2, '--num_processes=3: was given to process 1 on HOST, and 2 to '
               'process 0 on HOST', id='count')])
def test_what_differs_between_two_processes_ends_both_before_anything_is_compiled(second, code, line, tmp_path):
  workdir = tmp_path / 'one'
  second['workdir'] = tmp_path / second.get('workdir', 'one')
  two = start_pair({'workdir': workdir}, second)
  said = [process.communicate(timeout=60)[1] for process in two]
  assert [process.returncode for process in two] == [code, code], said
  for errors in said:
    assert line.replace('HOST', socket.gethostname()) in errors and errors.count('\n') == 1, errors
  assert not (workdir / 'config.json').exists() and not list(workdir.glob('shared-*'))


@pytest.mark.slow
def test_where_process_0_cannot_have_the_workdir_the_others_end_too(tmp_path):
  with exclusive_lock(tmp_path):
    two = start_two(tmp_path)
    said = [process.communicate(timeout=60)[1] for process in two]
  assert [process.returncode for process in two] == [4, 4], said
  assert all('another run is under way there' in errors and errors.count('\n') == 1 for errors in said), said


@pytest.mark.slow
def test_an_error_of_one_that_trains_ends_the_other(tmp_path):
  two = start_two(tmp_path, LONG, program=FAILS_LATER)
  said = [process.communicate(timeout=60)[1] for process in two]
  assert [process.returncode for process in two] == [3, 3], said
  assert 'maskrep: the disk is gone' in said[1] and 'process 1 on ' in said[0] and 'exit code 3' in said[0]


@pytest.mark.parametrize('index', [0, 1])
def test_a_process_that_finds_no_other_ends(index, tmp_path):
  lone = start(tmp_path / 'run', f'--coordinator=localhost:{free_port()}', '--num_processes=2', f'--process_id={index}',
               '--start_timeout_s=3')
  _, said = lone.communicate(timeout=60)
  line = '--process_id=1: did not connect' if index == 0 else '--coordinator=localhost:'
  assert lone.returncode == 2 and line in said and said.count('\n') == 1, said


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
