"""The launchers, with stand-ins for the programs of the clusters: what they start, and what they do at its end."""

import os
from pathlib import Path
import re
import shlex
import signal
import subprocess
import time
import tomllib

import pytest
import yaml

from maskrep.cli import train

pytestmark = pytest.mark.quick

ROOT = Path(__file__).parent.parent
LAUNCH = ROOT / 'launch'
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


# Exit codes of the starts, their number, and the script's own code.
AGAIN = [((75, 6, 0), 3, 0), ((75, 4), 2, 4), ((0,), 1, 0), ((137,), 1, 137)]
RUN = ['-m', 'maskrep', 'train', f'--config={CONFIG}', '--workdir=runs/my run', EXTRA]


@pytest.mark.parametrize(('codes', 'starts', 'code'), AGAIN)
def test_one_machine_goes_on_after_a_preemption_or_a_hang_only(codes, starts, code, fake, tmp_path):
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


@pytest.mark.parametrize(('code', 'requeued'), [
  (75, [['requeue', '17']]), (6, [['requeue', '17']]), (0, []), (5, [])])
def test_slurm_queues_again_after_a_preemption_or_a_lost_process_only(code, requeued, fake, tmp_path):
  calls, control = fake('srun', code), fake('scontrol', 0)
  assert launch(tmp_path, 'slurm.sbatch', CONFIG, 'runs/my run', EXTRA) == (0 if requeued else code)
  assert called(calls) == [['--kill-on-bad-exit=0', 'python', *RUN]]
  assert (called(control) if control.exists() else []) == requeued


@pytest.mark.parametrize(('codes', 'starts', 'code'), AGAIN)
def test_tpu_pod_hands_the_command_to_every_worker_and_starts_them_again(codes, starts, code, fake, tmp_path):
  calls = fake('gcloud', *codes)
  assert launch(tmp_path, 'tpu_pod.sh', 'pod', 'us-central2-b', CONFIG, 'runs/my run', EXTRA) == code
  assert len(called(calls)) == starts
  for *start, command in called(calls):
    assert start == ['compute', 'tpus', 'tpu-vm', 'ssh', 'pod', '--zone=us-central2-b', '--worker=all']
    assert shlex.split(command.removeprefix('--command=')) == ['python3', *RUN]


def test_jobset_is_one_run_of_as_many_processes_as_machines():
  job, = yaml.safe_load((LAUNCH / 'jobset.yaml').read_text())['spec']['replicatedJobs']
  spec = job['template']['spec']
  container, = spec['template']['spec']['containers']
  command = container['command']
  assert spec['parallelism'] == spec['completions'] and f'--num_processes={spec["completions"]}' in command
  assert spec['podFailurePolicy']['rules'][0]['onExitCodes']['values'] == [6, 75]
  parsed = train.parse([argument.replace('$(JOB_COMPLETION_INDEX)', '1') for argument in command[3:]])
  assert parsed.heartbeat == '/tmp/heartbeat'


def test_jobset_looks_at_the_heartbeat(tmp_path):
  """Its probe, with a file of this machine: fresh, ten minutes old, and not there."""
  job, = yaml.safe_load((LAUNCH / 'jobset.yaml').read_text())['spec']['replicatedJobs']
  container, = job['template']['spec']['template']['spec']['containers']
  file = tmp_path / 'heartbeat'
  probe = [part.replace('/tmp/heartbeat', str(file)) for part in container['livenessProbe']['exec']['command']]
  ends = lambda: subprocess.run(probe, check=False, stderr=subprocess.DEVNULL).returncode  # noqa: E731
  assert ends() == 1
  file.touch()
  assert ends() == 0
  os.utime(file, times=(time.time() - 660,) * 2)
  assert ends() == 1


@pytest.mark.parametrize(('addresses', 'rank'), [(['10.0.0.1', '10.0.0.2'], 1), (['10.0.0.1'], 0)])
def test_skypilot_is_one_run_of_as_many_processes_as_machines(addresses, rank, fake, tmp_path):
  task = yaml.safe_load((LAUNCH / 'skypilot.yaml').read_text())
  assert task['resources']['job_recovery'] == {'max_restarts_on_errors': 3, 'recover_on_exit_codes': [6, 75]}
  calls = fake('python', 0)
  env = os.environ | task['envs'] | {
    'PATH': f'{tmp_path / "bin"}:{os.environ["PATH"]}', 'WORKDIR': '/runs/my run',
    'SKYPILOT_NODE_IPS': '\n'.join(addresses), 'SKYPILOT_NUM_NODES': str(len(addresses)),
    'SKYPILOT_NODE_RANK': str(rank)}
  subprocess.run(['bash', '-c', task['run']], env=env, check=True)
  (*start, where, processes, process), = called(calls)
  assert start == ['-m', 'maskrep', 'train', f'--config={CONFIG}', '--workdir=/runs/my run']
  assert [where, processes, process] == [
    '--coordinator=10.0.0.1:8476', f'--num_processes={len(addresses)}', f'--process_id={rank}']


def test_the_image_is_made_of_what_there_is():
  """Its files and extras exist, and all that the package is made of is copied."""
  text = (LAUNCH / 'Dockerfile').read_text()
  copied = [source for line in re.findall('^COPY (.*) .*$', text, re.M) for source in line.split()]
  assert all((ROOT / source).exists() for source in copied)
  linked = {path.resolve().relative_to(ROOT).as_posix() for path in (ROOT / 'maskrep').iterdir() if path.is_symlink()}
  assert {'pyproject.toml', 'setup.py', 'README.md', 'LICENSE', 'maskrep', *linked} <= set(copied)
  project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
  python, = re.findall(r'^FROM python:([\d.]+)-slim$', text, re.M)
  assert f'Programming Language :: Python :: {python}' in project['classifiers']
  assert f'--constraint locks/python{python}.txt ".[${{EXTRA}}]"' in text
  assert {'cuda', 'tpu'} <= project['optional-dependencies'].keys()
