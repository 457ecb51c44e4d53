"""Two processes on this machine, by the same flags as on many; and what the flags refuse."""

import json
from pathlib import Path
import socket
import subprocess
import sys

import pytest

from maskrep.distributed import cluster, initialize
from maskrep.errors import ConfigError

ROOT = Path(__file__).parent.parent
RUN = ['--config=configs/msn_digits.py', '--config.encoder.width=16', '--config.encoder.depth=1',
       '--config.encoder.heads=1', '--config.head.hidden=16', '--config.views.num_focal=1',
       '--config.train.log_every_steps=1', '--config.train.epochs=0.25', '--config.eval.max_train_examples=128']


def start(workdir: Path, *flags: str) -> subprocess.Popen:
  return subprocess.Popen([sys.executable, 'main.py', f'--workdir={workdir}', *RUN, *flags], cwd=ROOT,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def metrics(workdir: Path) -> list[dict]:
  return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


def test_two_processes_train_as_one(tmp_path):
  with socket.socket() as probe:
    probe.bind(('localhost', 0))
    port = probe.getsockname()[1]
  two = [start(tmp_path / 'two', f'--coordinator=localhost:{port}', '--num_processes=2', f'--process_id={i}')
         for i in range(2)]
  said = [process.communicate(timeout=300) for process in two]
  assert [process.returncode for process in two] == [0, 0], said
  assert '2 process(es), 2 device(s)' in said[0][0] and 'trained' in said[0][0] and 'trained' not in said[1][0]
  one = start(tmp_path / 'one')
  assert one.communicate() and one.returncode == 0
  a, b = metrics(tmp_path / 'one'), metrics(tmp_path / 'two')
  assert len(a) == len(b) == 6
  for x, y in zip(a, b, strict=True):
    # Adam divides by the root of tiny squares: round-off grows from step to step.
    assert x['loss'] == pytest.approx(y['loss'], rel=1e-4)
  assert a[-1]['eval/knn'] == pytest.approx(b[-1]['eval/knn'], abs=0.02)


def test_a_process_that_finds_no_other_ends(tmp_path):
  alone = start(tmp_path / 'run', '--coordinator=localhost:1', '--num_processes=2', '--process_id=1',
                '--start_timeout_s=3')
  _, said = alone.communicate(timeout=100)
  assert alone.returncode == 2 and '--coordinator=localhost:1' in said and 'Traceback' not in said, said


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
