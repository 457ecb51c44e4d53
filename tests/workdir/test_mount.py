"""A workdir on a mounted bucket, whose folders cannot be renamed: a local one, with the mount table of such a machine.
"""

import errno
import os
from pathlib import Path
import shutil

import pytest

from maskrep.workdir import mount
from maskrep.workdir.checkpoint import Checkpoints
from maskrep.workdir.progress import resumes
from tests.support.processes import saved
from tests.workdir.test_checkpoint import restore, save, state

ROOT = '22 1 8:1 / / rw - ext4 /dev/sda1 rw'


def mounts(*lines: str) -> str:
  return '\n'.join([ROOT, *lines]) + '\n'


@pytest.fixture
def bucket(tmp_path, monkeypatch) -> Path:
  """A folder that counts as a mounted bucket, while no folder can be renamed."""
  table, folder = tmp_path / 'mountinfo', tmp_path / 'my bucket'
  table.write_text(mounts(f'90 22 0:50 / {str(folder).replace(" ", chr(92) + "040")} rw - fuse.gcsfuse runs rw'))
  monkeypatch.setattr(mount, 'MOUNTS', table)
  for name in 'rename', 'replace':
    monkeypatch.setattr(os, name, refusing(getattr(os, name)))
  return folder


def refusing(rename):
  def files_only(source, target, **options):
    if os.path.isdir(source):
      raise OSError(errno.EMFILE, 'Too many open files', str(source))  # as Cloud Storage FUSE has it
    rename(source, target, **options)
  return files_only


@pytest.mark.parametrize(('line', 'expected'), [
  ('90 22 0:50 / {} rw shared:1 - fuse.gcsfuse runs rw', True),
  ('90 22 0:50 / {} rw - fuse runs rw', True),
  ('90 22 0:50 / {} rw - nfs4 host:/runs rw', False),
  ('90 22 0:50 / {}-other rw - fuse.gcsfuse runs rw', False),
  ('90 22 0:50 / / rw - fuse.gcsfuse runs rw\n91 90 0:51 / {} rw - tmpfs tmpfs rw', False)])
def test_the_file_system_of_a_folder(line, expected, tmp_path, monkeypatch):
  (tmp_path / 'mountinfo').write_text(mounts(line.format(tmp_path / 'mnt')))
  monkeypatch.setattr(mount, 'MOUNTS', tmp_path / 'mountinfo')
  assert mount.on_fuse(tmp_path / 'mnt' / 'run') is expected


def test_steps_are_saved_and_restored_without_a_rename(bucket):
  save(bucket, 1, 2, 3, 4)
  assert saved(bucket) == [2, 3, 4] and resumes(bucket) and restore(bucket) == 4


def test_a_step_without_its_mark_is_not_one(bucket):
  """As a kill leaves it: all arrays may be there."""
  save(bucket, 1)
  (bucket / 'checkpoints' / '1' / 'commit_success.txt').unlink()
  assert not resumes(bucket)
  with Checkpoints(bucket, 3) as checkpoints:
    assert checkpoints.restore(state(0)) is None
    checkpoints.save(state(1), 1)
  assert resumes(bucket) and restore(bucket) == 1


def test_a_damaged_step_is_set_aside_without_a_rename(bucket):
  save(bucket, 1, 2)
  (bucket / 'checkpoints' / '2' / 'fingerprint' / 'metadata').write_text('{}')
  assert restore(bucket) == 1 and saved(bucket) == [1]
  aside, = (bucket / 'corrupt').iterdir()
  assert (aside / 'commit_success.txt').exists()
  save(bucket, 2)
  assert restore(bucket) == 2


def test_a_save_that_fails_leaves_nothing(bucket, monkeypatch):
  save(bucket, 1)
  with Checkpoints(bucket, 3) as checkpoints:
    left = bucket / 'checkpoints' / '2' / 'state'

    def fails(*_, **__):
      left.mkdir(parents=True)
      raise OSError(errno.EIO, 'Input/output error')

    with monkeypatch.context() as patched:
      patched.setattr(checkpoints._manager, 'save', fails)
      checkpoints.save(state(2), 2)
    assert saved(bucket) == [1] and not left.exists()
    checkpoints.save(state(2), 2)
  assert restore(bucket) == 2


def test_checkpoints_move_between_a_disk_and_a_bucket(bucket, tmp_path):
  save(bucket, 1)
  local = tmp_path / 'local'
  shutil.copytree(bucket, local)
  with pytest.MonkeyPatch.context() as patched:
    patched.setattr(os, 'rename', os.rename.__closure__[0].cell_contents)
    patched.setattr(os, 'replace', os.replace.__closure__[0].cell_contents)
    assert restore(local) == 1
    save(local, 2)
  shutil.copytree(local, bucket, dirs_exist_ok=True)
  assert resumes(bucket) and restore(bucket) == 2
