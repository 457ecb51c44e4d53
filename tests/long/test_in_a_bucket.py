"""A run in a bucket: killed at random moments, resumed, evaluated and exported; a second one is kept out."""

import json
import random
import time

import pytest

from maskrep.cli import evaluate, export
from maskrep.workdir import bucket
from maskrep.workdir.files import read_json
from tests.support.bucket import NAME, emulated
from tests.support.processes import records, start

KILLS, STEPS = 20, 60
RUN = (f'--config.train.epochs={STEPS * 64 / 1438}', '--config.train.checkpoint_every_steps=3',
       '--config.eval.every_steps=1000', '--config.eval.protocols=("knn",)')
# A lease that expires sooner, so that each kill is not followed by a minute of waiting.
PROGRAM = '-c', """import sys
from maskrep.workdir import lease
lease.RENEWED_S, lease.EXPIRES_S, lease.LOOKS_S = 0.5, 3, 0.2
from maskrep.process.entry import run_process
run_process('maskrep.cli.train', ['main.py', *sys.argv[1:]])"""


def last_saved(folder) -> int:
  return max((int(path.parent.name) for path in folder.glob('checkpoints/*/commit_success.txt')), default=0)


def wait_for(condition, process) -> None:
  while not condition():
    assert process.poll() is None, process.communicate()
    time.sleep(0.2)


@pytest.mark.slow
def test_a_run_in_a_bucket_killed_again_and_again_ends_as_one_on_a_disk(tmp_path, capsys):
  draw = random.Random(0)
  with emulated() as env:
    address = f'gs://{NAME}/run'
    folder = bucket.opened(address)
    first = start(address, *RUN, program=PROGRAM, **env)
    wait_for(lambda: last_saved(folder) > 0, first)
    other = start(address, *RUN, program=PROGRAM, **env)
    _, refused = other.communicate()
    assert other.returncode == 4 and f'process {first.pid} ' in refused and 'Traceback' not in refused, refused
    first.kill()
    first.communicate()
    kills, saved = 1, 0
    while kills < KILLS and last_saved(folder) < STEPS:
      before = last_saved(folder)
      assert before >= saved, 'a checkpoint was lost'
      process, saved = start(address, *RUN, program=PROGRAM, **env), before
      wait_for(lambda: b'"began"' in bucket.read(folder / 'events.jsonl').content.splitlines()[-1], process)
      time.sleep(draw.uniform(0, 1))
      process.kill()
      process.communicate()
      kills += 1
    process = start(address, *RUN, program=PROGRAM, **env)
    _, said = process.communicate()
    assert process.returncode == 0, said
    straight = start(tmp_path / 'disk', *RUN)
    _, said = straight.communicate()
    assert straight.returncode == 0, said
    last = f'checkpoints/{STEPS}/fingerprint/metadata'
    assert json.loads((folder / last).read_text()) == records(tmp_path / 'disk', last)[0]
    found, damaged = read_json(folder / 'metrics.jsonl')
    assert not damaged and [(each['step'], each['loss']) for each in found] == [
      (each['step'], each['loss']) for each in records(tmp_path / 'disk', 'metrics.jsonl')]
    assert not list(folder.glob('corrupt/*')) and list(folder.glob('events.out.*')) and kills == KILLS
    assert evaluate.main(['evaluate', 'knn', f'--workdir={address}']) == 0
    assert read_json(folder / 'evaluations.jsonl')[0][-1]['stage'] == 'later' and list(folder.glob('features/*.npz'))
    output = tmp_path / 'encoder.safetensors'
    assert export.main(['export', f'--workdir={address}', '--format=safetensors', f'--output={output}']) == 0
    assert output.exists()
