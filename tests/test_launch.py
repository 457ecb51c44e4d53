"""The launchers, with stand-ins for the programs of the clusters: what they start, and what they do at its end."""

import os
from pathlib import Path
import shlex
import signal
import subprocess
import time

import pytest
import yaml

pytestmark = pytest.mark.quick

LAUNCH = Path(__file__).parent.parent / 'launch'
CONFIG, EXTRA = 'msn_vitb16', '--config.views.mean=(0.5, 0.5, 0.5)'


@pytest.fixture
def fake(tmp_path):
  """Makes programs that note how they were called, and end with the codes given, the last one again and again."""

  def make(name: str, *codes: int) -> Path:
    calls = tmp_path / f'{name}.calls'
    script = tmp_path / 'bin' / name
    script.parent.mkdir(exist_ok=True)
    script.write_text(f'#!/bin/bash\nprintf "%q " "$@" >> {calls}; echo >> {calls}\n'
                      f'codes=({" ".join(map(str, codes))}); n=$(wc -l < {calls})\n'
                      'exit "${codes[$((n > ${#codes[@]} ? ${#codes[@]} : n)) - 1]}"\n')
    script.chmod(0o755)
    return calls

  return make


def launch(tmp_path: Path, script: str, *arguments: str) -> int:
  env = os.environ | {'PATH': f'{tmp_path / "bin"}:{os.environ["PATH"]}', 'SLURM_JOB_ID': '17'}
  return subprocess.run(['bash', str(LAUNCH / script), *arguments], env=env, check=False).returncode


def called(calls: Path) -> list[list[str]]:
  return [shlex.split(line) for line in calls.read_text().splitlines()]


RUN = ['-m', 'maskrep', 'train', f'--config={CONFIG}', '--workdir=runs/my run', EXTRA]


@pytest.mark.parametrize(('codes', 'starts', 'code'), [((75, 75, 0), 3, 0), ((75, 4), 2, 4), ((0,), 1, 0)])
def test_one_machine_goes_on_after_a_preemption_only(codes, starts, code, fake, tmp_path):
  calls = fake('python', *codes)
  assert launch(tmp_path, 'one_machine.sh', CONFIG, 'runs/my run', EXTRA) == code
  assert called(calls) == [RUN] * starts


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_one_machine_passes_a_signal_on_and_ends_with_its_run(number, tmp_path):
  """The stand-in ends with 75 when it is told to stop, as a run does after it has saved."""
  python = tmp_path / 'bin' / 'python'
  python.parent.mkdir()
  python.write_text(f'#!/bin/bash\necho started >> {tmp_path}/starts\ntrap "sleep 0.5; exit 75" TERM\n'
                    'while true; do sleep 0.05; done\n')
  python.chmod(0o755)
  env = os.environ | {'PATH': f'{python.parent}:{os.environ["PATH"]}'}
  script = subprocess.Popen(['bash', str(LAUNCH / 'one_machine.sh'), CONFIG, 'runs/my run'], env=env)
  while not (tmp_path / 'starts').exists():
    time.sleep(0.05)
  time.sleep(0.2)
  script.send_signal(number)
  assert script.wait(timeout=30) == 75
  assert (tmp_path / 'starts').read_text() == 'started\n'


@pytest.mark.parametrize(('code', 'requeued'), [(75, [['requeue', '17']]), (0, []), (5, [])])
def test_slurm_queues_again_after_a_preemption_only(code, requeued, fake, tmp_path):
  calls, control = fake('srun', code), fake('scontrol', 0)
  assert launch(tmp_path, 'slurm.sbatch', CONFIG, 'runs/my run', EXTRA) == (0 if requeued else code)
  assert called(calls) == [['--kill-on-bad-exit=0', 'python', *RUN]]
  assert (called(control) if control.exists() else []) == requeued


def test_tpu_pod_hands_the_command_to_every_worker(fake, tmp_path):
  calls = fake('gcloud', 0)
  assert launch(tmp_path, 'tpu_pod.sh', 'pod', 'us-central2-b', CONFIG, 'runs/my run', EXTRA) == 0
  (*start, command), = called(calls)
  assert start == ['compute', 'tpus', 'tpu-vm', 'ssh', 'pod', '--zone=us-central2-b', '--worker=all']
  assert shlex.split(command.removeprefix('--command=')) == ['python3', *RUN]


def test_jobset_is_one_run_of_as_many_processes_as_machines():
  job, = yaml.safe_load((LAUNCH / 'jobset.yaml').read_text())['spec']['replicatedJobs']
  spec = job['template']['spec']
  command = spec['template']['spec']['containers'][0]['command']
  assert spec['parallelism'] == spec['completions'] and f'--num_processes={spec["completions"]}' in command
  assert spec['podFailurePolicy']['rules'][0]['onExitCodes']['values'] == [75]
