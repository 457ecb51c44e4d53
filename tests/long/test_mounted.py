"""A run on a mounted bucket that is killed again and again ends as one on a disk that never is."""

from pathlib import Path
import time

import pytest

from tests.support.processes import records, saved, start, wait_for_step

STEPS = 20
RUN = (f'--config.train.epochs={STEPS * 64 / 1438}', '--config.train.checkpoint_every_steps=1',
       '--config.eval.every_steps=1000', '--config.eval.protocols=("collapse",)')
# All folders count as on such a mount, and none can be renamed.
MOUNTED = '-c', """import errno, os, sys
from maskrep.workdir import checkpoint, progress
checkpoint.on_fuse = progress.on_fuse = lambda folder: True
def files_only(rename):
  def renamed(source, target, **options):
    if os.path.isdir(source):
      raise OSError(errno.EMFILE, 'Too many open files', str(source))
    rename(source, target, **options)
  return renamed
os.rename, os.replace = files_only(os.rename), files_only(os.replace)
from maskrep.process.entry import run_process
run_process('maskrep.cli.train', ['main.py', *sys.argv[1:]])"""


def half_written(workdir: Path) -> list[int]:
  return [step for step in saved(workdir) if not (workdir / 'checkpoints' / str(step) / 'commit_success.txt').exists()]


@pytest.mark.slow
def test_a_mounted_run_killed_again_and_again_ends_as_one_on_a_disk(tmp_path):
  straight = start(tmp_path / 'disk', *RUN)
  workdir, found = tmp_path / 'mount', 0
  for aim in (3, 12):
    process = start(workdir, *RUN, program=MOUNTED)
    wait_for_step(workdir, process, aim)
    while not half_written(workdir):
      assert process.poll() is None, process.communicate()
      time.sleep(0.002)
    process.kill()
    process.communicate()
    found += bool(half_written(workdir))
    assert max(set(saved(workdir)) - set(half_written(workdir))) >= aim - 2
  process = start(workdir, *RUN, program=MOUNTED)
  _, said = process.communicate()
  assert process.returncode == 0 and found, said
  assert straight.communicate() and straight.returncode == 0
  last = f'checkpoints/{STEPS}/fingerprint/metadata'
  assert records(workdir, last) == records(tmp_path / 'disk', last)
  losses = [[(each['step'], each['loss']) for each in records(folder, 'metrics.jsonl')]
            for folder in (workdir, tmp_path / 'disk')]
  assert losses[0] == losses[1] and not (workdir / 'corrupt').exists()
