"""events.jsonl says why a run ended, whatever ended it; a run goes on only as what it was."""

import contextlib
import json

import pytest

from maskrep import errors
from maskrep.configs import mscn_digits, msn_digits
from maskrep.experiment.experiment import Experiment
from maskrep.experiment.run import run
from maskrep.workdir.config import load_config, store_config
from maskrep.workdir.events import record_event, recorded
from maskrep.workdir.files import append_json
from maskrep.workdir.starts import check_start, describe_start, record_start
from tests.support.tiny import shrink

ENDS = [
  (None, 'finished', 0),
  (errors.ConfigError('a field'), 'ConfigError: a field', 2),
  (errors.DataError('an image'), 'DataError: an image', 3),
  (errors.Stalled('a disk'), 'Stalled: a disk', 3),
  (errors.CheckpointError('a file'), 'CheckpointError: a file', 4),
  (OSError(28, 'No space left on device'), 'No space left on device', 4),
  (errors.NonFiniteError('a loss'), 'NonFiniteError: a loss', 5),
  (errors.Preempted('a signal'), 'Preempted: a signal', 75),
  (KeyboardInterrupt(), 'KeyboardInterrupt', 1),
  (ZeroDivisionError('a fault of ours'), 'ZeroDivisionError: a fault of ours', 1),
]


@pytest.mark.parametrize(('error', 'reason', 'code'), ENDS, ids=lambda value: type(value).__name__)
def test_the_last_event_says_why(error, reason, code, tmp_path):
  try:
    with recorded(tmp_path, lambda: {'step': 1.5}):
      if error:
        raise error
  except BaseException as raised:
    assert raised is error or isinstance(raised, errors.CheckpointError) and isinstance(error, OSError)
  start, end = map(json.loads, (tmp_path / 'events.jsonl').read_text().splitlines())
  assert start['event'] == 'start' and end['event'] == 'end'
  assert reason in end['reason'] and end['exit_code'] == code and end['seconds'] == {'step': 1.5}


def test_where_not_even_the_end_can_be_written_the_error_still_comes_out(tmp_path, caplog):
  workdir = tmp_path / 'run'
  workdir.mkdir()
  with pytest.raises(errors.CheckpointError, match='cannot be written any more'), recorded(workdir, dict):
    (workdir / 'events.jsonl').unlink()
    workdir.rmdir()
    append_json(workdir / 'metrics.jsonl', {})
  assert 'could not be recorded' in caplog.text


def test_a_start_on_other_data_is_refused_and_changes_nothing(tmp_path):
  record_start(tmp_path, describe_start('digits'))
  before = (tmp_path / 'run.json').read_text()
  with pytest.raises(errors.ConfigError, match='data: digits -> letters'):
    check_start(tmp_path, describe_start('letters'))
  assert (tmp_path / 'run.json').read_text() == before
  check_start(tmp_path, describe_start('letters'), ('data',))
  record_start(tmp_path, describe_start('letters'))
  check_start(tmp_path, describe_start('letters'))
  assert (tmp_path / 'run.json').read_text().startswith(before)


def test_a_run_without_a_checkpoint_begins_anew_with_what_its_error_asked_for(tmp_path, monkeypatch, caplog):
  def fails(*_):
    raise errors.NonFiniteError('lower config.optim.learning_rate')

  monkeypatch.setattr('maskrep.experiment.run.train', fails)
  config = shrink(msn_digits.get_config())
  for rate, size in ((1.0, 8), (0.5, 16), (0.25, 4)):
    config.optim.learning_rate, config.batch_size = rate, size
    monkeypatch.setattr('maskrep.data.loader.ORDER', size)  # other data, as repaired ones are
    with pytest.raises(errors.NonFiniteError):
      run(config, tmp_path)
    assert load_config(tmp_path)['optim']['learning_rate'] == rate
  assert 'optim.learning_rate: 0.5 -> 0.25' in caplog.text and caplog.text.count('has no checkpoint') == 2


@pytest.mark.parametrize('progress', ['checkpoints/5', 'corrupt/5-20260101T000000-1', 'finished'])
def test_a_run_with_progress_keeps_its_config_and_data(progress, tmp_path, monkeypatch):
  """A checkpoint, one that was set aside as damaged, or a run that finished and whose checkpoints were removed."""
  config = shrink(msn_digits.get_config())
  store_config(tmp_path, Experiment.parse(config).config, free=())
  record_start(tmp_path, describe_start('other data'))
  if progress == 'finished':
    record_event(tmp_path, 'end', reason='finished', exit_code=0)
  else:
    (tmp_path / progress).mkdir(parents=True)
  monkeypatch.setattr('maskrep.experiment.run.train', lambda *_: [])
  with pytest.raises(errors.ConfigError, match='data: other data -> '):
    run(config, tmp_path)
  config.seed = 1
  with pytest.raises(errors.ConfigError, match='seed: 0 -> 1'):
    run(config, tmp_path, allowed_changes=('data',))


@pytest.mark.parametrize(('module', 'free'), [(msn_digits, True), (mscn_digits, False)], ids=['msn', 'mscn'])
def test_microbatches_may_change_where_they_change_only_round_off(module, free, tmp_path, monkeypatch):
  monkeypatch.setattr('maskrep.experiment.run.train', lambda *_: [])
  config = shrink(module.get_config())
  run(config, tmp_path)
  config.train.microbatch = 4
  with contextlib.nullcontext() if free else pytest.raises(errors.ConfigError, match='train.microbatch: 0 -> 4'):
    run(config, tmp_path)
