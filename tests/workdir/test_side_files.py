"""Side files of a run that are damaged, and a workdir that is full or replaced: one line that names file and remedy."""

import json
import logging
import shutil

import pytest

from maskrep.cli import train
from maskrep.configs import msn_digits
from maskrep.errors import CheckpointError
from maskrep.experiment.run import run
from maskrep.train.metrics import MetricWriter
from maskrep.train.progress import Progress
from tests.support.processes import ROOT, files_end_at, records, saved
from tests.support.tiny import shrink

DIGITS = f'--config={ROOT}/configs/msn_digits.py'


def refused(workdir, capsys) -> str:
  assert train.main(['main.py', DIGITS, f'--workdir={workdir}']) == 4
  line, = capsys.readouterr().err.strip().splitlines()
  return line


@pytest.mark.parametrize('content', [b'', b'{"data": "di', b'[]\n', b'\xff\xfe\n', None])
def test_a_damaged_run_json(tmp_path, capsys, content):
  path = tmp_path / 'run.json'
  path.mkdir() if content is None else path.write_bytes(content)
  line = refused(tmp_path, capsys)
  assert f'{path}: is damaged or cannot be read' in line and 'move it away' in line
  assert not (tmp_path / 'config.json').exists()


def test_a_lock_that_is_a_folder(tmp_path, capsys):
  (tmp_path / 'lock').mkdir()
  assert f'{tmp_path}/lock: cannot be opened as a file (Is a directory); remove it' in refused(tmp_path, capsys)


def test_a_disk_with_room_for_nothing_but_the_lock(tmp_path, capsys):
  with files_end_at(120):
    line = refused(tmp_path, capsys)
  assert f'--workdir={tmp_path}: cannot be written any more' in line and 'free space' in line


def test_damaged_lines_of_metrics_are_moved_and_no_whole_one_is_lost(tmp_path, caplog):
  lines = [json.dumps({'step': step, 'seconds': 1.5, 'loss': 2.0}).encode() for step in (1, 2, 3, 4, 5)]
  damaged = b'\xff\xfe\x00', b'{"step": ', b'[4]', b'{"loss": 1.0}'
  (tmp_path / 'metrics.jsonl').write_bytes(b'\n'.join([lines[0], *damaged, *lines[1:]]) + b'\n{"step": 6, "sec')
  with caplog.at_level(logging.WARNING):
    writer = MetricWriter(tmp_path, 3)
  assert [record['step'] for record in records(tmp_path, 'metrics.jsonl')] == [1, 2, 3]
  assert (writer.lost_steps, writer.lost_seconds) == (2, 3.0)
  aside = tmp_path / 'metrics.damaged.jsonl'
  assert aside.read_bytes() == b'\n'.join(damaged) + b'\n'
  assert f'{tmp_path}/metrics.jsonl: line 2, 3, 4, 5 cannot be read, and is moved to {aside}' in caplog.text
  MetricWriter(tmp_path, 3)
  assert caplog.text.count('cannot be read') == 1


@pytest.mark.usefixtures('compiled_once')
def test_a_workdir_that_is_removed_is_noticed_at_the_next_save(tmp_path, monkeypatch):
  """Also if another run is there by then, in which nothing is written but a line of metrics."""
  workdir, update = tmp_path / 'run', Progress.update
  config = shrink(msn_digits.get_config(), steps=8)
  config.train.checkpoint_every_steps = 5  # none is under way at step 3

  def replaced(self, step, *args):
    update(self, step, *args)
    if step == 3:
      shutil.rmtree(workdir)
      workdir.mkdir()
      (workdir / 'lock').touch()

  monkeypatch.setattr(Progress, 'update', replaced)
  with pytest.raises(CheckpointError, match='was removed or replaced while the run went on'):
    run(config, workdir)
  assert {path.name for path in workdir.iterdir()} <= {'lock', 'metrics.jsonl'}


@pytest.mark.usefixtures('compiled_once')
def test_folders_with_digits_of_other_scripts_are_no_steps(tmp_path):
  for name in ('²', '٣'):
    (tmp_path / 'checkpoints' / name).mkdir(parents=True)
  run(shrink(msn_digits.get_config(), steps=2), tmp_path)
  run(shrink(msn_digits.get_config(), steps=2), tmp_path)
  assert saved(tmp_path) == [2] and (tmp_path / 'checkpoints' / '²').exists()
