import threading

import pytest

from maskrep.errors import CheckpointError
from maskrep.workdir import shared

pytestmark = pytest.mark.quick


def test_the_file_of_process_0_is_found_also_if_it_comes_late(tmp_path):
  workdir = tmp_path / 'run'

  def appear():
    workdir.mkdir()
    (workdir / 'shared-1').touch()

  timer = threading.Timer(0.5, appear)
  timer.start()
  shared.find(workdir, 'shared-1')
  timer.join()


def test_another_folder_is_one_line(tmp_path, monkeypatch):
  monkeypatch.setattr(shared, 'PATIENCE_S', 0.3)
  name = shared.offer(tmp_path)
  other = tmp_path / 'other'
  with pytest.raises(CheckpointError, match=f'--workdir={other}: is not the folder of process 0'):
    shared.find(other, name)
  assert not other.exists()  # nor is it made


def test_files_of_killed_processes_are_removed(tmp_path):
  shared.offer(tmp_path)
  name = shared.offer(tmp_path)
  assert [path.name for path in tmp_path.iterdir()] == [name]
  shared.withdraw(tmp_path)
  assert not list(tmp_path.iterdir())
