"""The file for a liveness probe."""

import threading
import time

import pytest

from maskrep.errors import ConfigError
from maskrep.process import heartbeat

pytestmark = pytest.mark.quick


def test_it_is_touched_again_and_again(tmp_path, monkeypatch):
  beats = []
  reached = threading.Event()
  file = tmp_path / 'heartbeat'
  touch = type(file).touch

  def counted(path):
    touch(path)
    beats.append(time.monotonic())
    if len(beats) == 3:
      reached.set()

  monkeypatch.setattr(heartbeat, 'EVERY_S', 0.05)
  monkeypatch.setattr(type(file), 'touch', counted)
  heartbeat.beat(file)
  assert file.exists() and reached.wait(5)


def test_a_file_that_cannot_be_written_is_refused(tmp_path):
  with pytest.raises(ConfigError, match=r'--heartbeat=.*/no/heartbeat: cannot be written \(No such file'):
    heartbeat.beat(tmp_path / 'no' / 'heartbeat')
