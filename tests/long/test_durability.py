"""A run as its user meets it: told to stop, started twice, poisoned. Each process costs seconds: few of them."""

import logging
import signal
import time

import jax
import jax.numpy as jnp
import pytest

from maskrep.configs import msn_digits
from maskrep.errors import CheckpointError, ConfigError, NonFiniteError, Preempted
from maskrep.experiment.run import run
from maskrep.methods.msn import MSN
from maskrep.train import cost
from maskrep.workdir.checkpoint import Checkpoints
from tests.support.processes import files_end_at, records, saved, start, wait_for_step
from tests.support.tiny import shrink

LONG = '--config.train.epochs=1000.0', '--config.train.checkpoint_every_steps=1000000'
STAMP = '%Y-%m-%dT%H:%M:%S%z'


def test_told_to_stop_it_saves_and_says_so_and_a_second_run_is_kept_out(tmp_path):
  process = start(tmp_path, *LONG, '--profile_steps=2:3')
  wait_for_step(tmp_path, process, 3)
  other = start(tmp_path, *LONG)
  _, refused = other.communicate()
  assert other.returncode == 4 and f'process {process.pid} ' in refused and 'Traceback' not in refused
  process.send_signal(signal.SIGTERM)
  _, said = process.communicate()
  assert process.returncode == 75, said
  assert 'stopped by SIGTERM after step' in said and 'Traceback' not in said
  step, = saved(tmp_path)
  assert f'after step {step},' in said
  _, compiled, began, end = records(tmp_path, 'events.jsonl')
  assert compiled['event'] == 'compiled' and compiled['memory_bytes'] > 0
  assert began['event'] == 'began' and began['step'] == 1 and end['exit_code'] == 75
  # Every second counts once.
  lasted = time.mktime(time.strptime(end['time'], STAMP)) - time.mktime(time.strptime(began['time'], STAMP))
  assert abs(sum(end['seconds'].values()) - sum(began['seconds'].values()) - lasted) < 2
  assert records(tmp_path, 'metrics.jsonl')[-1]['step'] == step
  assert len(list((tmp_path / 'profile').rglob('*.xplane.pb'))) == 1, 'the trace'


def test_loss_that_is_not_finite_ends_the_run_by_name(tmp_path, monkeypatch):
  sound = MSN.loss

  def poisoned(self, *args, **kwargs):
    value, aux = sound(self, *args, **kwargs)
    return value * jnp.inf, aux

  monkeypatch.setattr(MSN, 'loss', poisoned)
  config = shrink(msn_digits.get_config(), steps=8)
  config.batch_size = 24
  with pytest.raises(NonFiniteError, match=r'step 3: 3 updates in a row .*loss=.*: (digit \d+,? ){8}and 16 more$'):
    run(config, tmp_path)
  assert records(tmp_path, 'events.jsonl')[-1]['exit_code'] == 5


@pytest.mark.usefixtures('compiled_once')
def test_a_full_disk_ends_the_run_and_leaves_what_was_saved(tmp_path, caplog, monkeypatch):
  """The run was stopped before, so that what it compiles is in the cache."""
  config = shrink(msn_digits.get_config(), steps=12)
  save, least = Checkpoints.save, jax.config.jax_persistent_cache_min_compile_time_secs

  def save_and_stop(self, state, step):
    save(self, state, step)
    if step == 4:
      raise Preempted('stopped')

  monkeypatch.setattr(Checkpoints, 'save', save_and_stop)
  with pytest.raises(Preempted):
    run(config, tmp_path)
  monkeypatch.setattr(Checkpoints, 'save', save)
  assert saved(tmp_path) == [2, 4]
  before = records(tmp_path, 'checkpoints/4/fingerprint/metadata')
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 1e6)  # no file of the cache is cut off
  with files_end_at(20_000), pytest.raises(CheckpointError, match='3 checkpoints in a row were not saved'):
    run(config, tmp_path)
  assert saved(tmp_path) == [2, 4] and records(tmp_path, 'checkpoints/4/fingerprint/metadata') == before
  assert not list(tmp_path.glob('checkpoints/*tmp*'))
  assert caplog.text.count('was not saved') >= 3
  end = records(tmp_path, 'events.jsonl')[-1]
  jax.config.update('jax_persistent_cache_min_compile_time_secs', least)
  assert end['exit_code'] == 4 and end['event'] == 'end'
  run(config, tmp_path)
  assert saved(tmp_path)[-1] == 12


def test_a_workdir_that_vanishes_ends_the_run(tmp_path):
  workdir = tmp_path / 'run'
  process = start(workdir, *LONG)
  wait_for_step(workdir, process, 3)
  workdir.rename(tmp_path / 'unmounted')  # at once: rmtree would race with the run, which goes on writing
  _, said = process.communicate(timeout=30)
  assert process.returncode == 4 and 'was removed or replaced' in said and 'Traceback' not in said, said


@pytest.mark.usefixtures('compiled_once')
def test_what_is_resumed_must_be_the_same_run(tmp_path, monkeypatch, caplog):
  config = shrink(msn_digits.get_config())
  monkeypatch.setattr(cost, 'peak_bytes', lambda: 4321)  # as a device that says so; a CPU does not
  run(config, tmp_path)
  monkeypatch.setattr('maskrep.workdir.starts.PACKAGES', ('numpy',))
  caplog.set_level(logging.WARNING)
  run(config, tmp_path)
  assert [event.get('peak_bytes') for event in records(tmp_path, 'events.jsonl')] == [None] * 3 + [4321] + [None] * 4
  assert 'versions.jax: ' in caplog.text and 'not bit for bit' in caplog.text

  config.batch_size = 16
  with pytest.raises(ConfigError, match='batch_size=16: the run in .* has 8'):
    run(config, tmp_path, allowed_changes=('batch_size',))
  config.batch_size = 8
  monkeypatch.setattr('maskrep.data.loader.ORDER', 2)
  with pytest.raises(ConfigError, match='order 1 -> .*order 2'):
    run(config, tmp_path)
  run(config, tmp_path, allowed_changes=('data',))
