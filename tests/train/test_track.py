"""Trackers: a resumed run continues, a failure never ends training, and each library gets what we send, offline."""

import json
import logging

import pytest

from maskrep.errors import ConfigError
from maskrep.train import track

pytestmark = pytest.mark.quick
CONFIG = {'method': 'msn', 'optim': {'learning_rate': 0.1}}


class Fake:
  def __init__(self, workdir, config, previous):
    self.id, self.previous, self.config = previous or 'first', previous, config
    self.logged, self.complete = [], None

  def log(self, step, metrics):
    if metrics['loss'] < 0:
      raise OSError('the server is gone')
    self.logged.append((step, metrics))

  def finish(self, complete):
    self.complete = complete


@pytest.fixture
def started(monkeypatch):
  """The fake trackers that were started."""
  trackers = []

  def start(*arguments):
    trackers.append(Fake(*arguments))
    return trackers[-1]
  monkeypatch.setitem(track.TRACKERS, 'wandb', start)
  return trackers


def test_a_resumed_run_continues(tmp_path, started):
  with pytest.raises(KeyboardInterrupt), track.tracked('wandb', tmp_path, CONFIG) as send:
    send(1, {'loss': 1.0})
    raise KeyboardInterrupt
  with track.tracked('wandb', tmp_path, CONFIG) as send:
    send(2, {'loss': 0.5})
  assert [each.previous for each in started] == [None, 'first']
  assert [each.logged for each in started] == [[(1, {'loss': 1.0})], [(2, {'loss': 0.5})]]
  assert [each.complete for each in started] == [False, True]


def test_a_failure_is_one_warning(tmp_path, started, caplog):
  caplog.set_level(logging.WARNING)
  with track.tracked('wandb', tmp_path, CONFIG) as send:
    for step in range(1, 5):
      send(step, {'loss': 1.0 if step == 1 else -1.0})
  assert [step for step, _ in started[0].logged] == [1]
  assert caplog.text.count('the server is gone') == len(caplog.records) == 1


def test_a_tracker_that_cannot_start_ends_only_a_new_run(tmp_path, monkeypatch, caplog):
  def refuse(*_):
    raise RuntimeError('no key')
  monkeypatch.setitem(track.TRACKERS, 'wandb', refuse)
  with pytest.raises(ConfigError, match=r'--track=wandb: cannot be started \(no key\)'):
    track.tracked('wandb', tmp_path, CONFIG).__enter__()
  (tmp_path / track.FILE).write_text(json.dumps({'wandb': 'first'}))
  with track.tracked('wandb', tmp_path, CONFIG) as send:
    send(1, {'loss': 1.0})
  assert caplog.text.count('goes on untracked') == 1


def test_no_tracker(tmp_path):
  with track.tracked(None, tmp_path, CONFIG) as send:
    send(1, {'loss': 1.0})
  assert not list(tmp_path.iterdir())


def twice(name, workdir):
  """Two starts of one run, of two steps each."""
  for first in (1, 3):
    with track.tracked(name, workdir, CONFIG) as send:
      for step in (first, first + 1):
        send(step, {'loss': 1 / step})
  return json.loads((workdir / track.FILE).read_text())[name]


@pytest.mark.slow
def test_mlflow(tmp_path, monkeypatch):
  mlflow = pytest.importorskip('mlflow')
  monkeypatch.setenv('MLFLOW_TRACKING_URI', f'sqlite:///{tmp_path}/store.db')
  run = twice('mlflow', tmp_path)
  client = mlflow.MlflowClient()
  assert [(each.step, each.value) for each in client.get_metric_history(run, 'loss')] == [
    (step, pytest.approx(1 / step)) for step in (1, 2, 3, 4)]
  found = client.get_run(run)
  assert found.data.params == {'method': 'msn', 'optim.learning_rate': '0.1'} and found.info.status == 'FINISHED'


@pytest.mark.slow
def test_trackio(tmp_path, monkeypatch, caplog):
  pytest.importorskip('trackio')
  from trackio.sqlite_storage import SQLiteStorage
  monkeypatch.setenv('TRACKIO_DIR', str(tmp_path / 'store'))
  run = twice('trackio', tmp_path)
  assert not caplog.records
  assert SQLiteStorage.get_runs(track.PROJECT) == [run]
  assert [(each['step'], each['loss']) for each in SQLiteStorage.get_logs(track.PROJECT, run)] == [
    (step, pytest.approx(1 / step)) for step in (1, 2, 3, 4)]


@pytest.mark.slow
def test_wandb(tmp_path, monkeypatch, caplog):
  pytest.importorskip('wandb')
  monkeypatch.setenv('WANDB_MODE', 'offline')
  run = twice('wandb', tmp_path)
  assert not caplog.records
  files = list((tmp_path / 'wandb').glob(f'offline-run-*/run-{run}.wandb'))
  assert files and all(b'learning_rate' in file.read_bytes() for file in files)
