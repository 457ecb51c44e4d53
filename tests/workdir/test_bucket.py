"""A workdir in a bucket: objects that are replaced on a condition, and the lease."""

import threading
import time

import pytest

from maskrep.errors import CheckpointError, ConfigError
from maskrep.workdir import bucket, lease
from maskrep.workdir.files import append_json, move_folder, read_json, write_atomic
from maskrep.workdir.folder import Place
from maskrep.workdir.lock import exclusive_lock, shared_lock
from maskrep.workdir.progress import has_progress, resumes
from tests.support.bucket import NAME, emulated


@pytest.fixture(scope='module')
def address():
  with emulated():
    yield f'gs://{NAME}'


def test_files_of_a_run_in_a_bucket(address):
  with pytest.raises(ConfigError, match='--workdir=gs://nowhere/run: the bucket cannot be read'):
    bucket.opened('gs://nowhere/run')
  folder = bucket.opened(f'{address}/files')
  writers = [threading.Thread(target=append_json, args=(folder / 'events.jsonl', {'writer': i})) for i in range(4)]
  for writer in writers:
    writer.start()
  for writer in writers:
    writer.join()
  found, damaged = read_json(folder / 'events.jsonl')
  assert sorted(each['writer'] for each in found) == [0, 1, 2, 3] and not damaged
  write_atomic(folder / 'checkpoints' / '3' / 'state', b'x')
  assert not resumes(folder) and not has_progress(folder), 'without its mark it is no checkpoint'
  write_atomic(folder / 'checkpoints' / '3' / bucket.COMMITTED, b'')
  assert resumes(folder)
  move_folder(folder / 'checkpoints' / '3', folder / 'corrupt' / '3')
  assert not resumes(folder) and has_progress(folder) and (folder / 'corrupt' / '3' / 'state').read_bytes() == b'x'


def test_the_lease_keeps_others_out_and_expires(address, monkeypatch):
  for name, seconds in (('RENEWED_S', 0.1), ('EXPIRES_S', 0.8), ('LOOKS_S', 0.1)):
    monkeypatch.setattr(lease, name, seconds)
  folder = bucket.opened(f'{address}/leased')
  with exclusive_lock(folder):
    place = Place(folder)
    for lock in (exclusive_lock, shared_lock):
      with pytest.raises(CheckpointError, match='a.* run is under way there .process .* on .* since'), lock(folder):
        pass
    time.sleep(1)
    assert place.lost() is None, 'renewed'
    left = (folder / 'lock').read_bytes()
  with shared_lock(folder):
    pass
  (folder / 'lock').write_bytes(left)  # as a killed process leaves it
  began = time.monotonic()
  with exclusive_lock(folder):
    assert time.monotonic() - began > 0.5 and 'was removed or replaced' in str(place.lost())
  assert not (folder / 'lock').exists()
