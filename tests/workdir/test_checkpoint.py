"""Whatever happens to the newest checkpoint: what is restored is exactly what was saved, or there is an error."""

import contextlib
from pathlib import Path
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskrep.errors import CheckpointError
from maskrep.types import TrainState
from maskrep.workdir.checkpoint import Checkpoints


def state(step: int, width: int = 300) -> TrainState:
  values = jax.random.normal(jax.random.key(step), (4, width))
  return TrainState(
    step=jnp.int32(step), params={'kernel': values, 'bias': values[0]}, ema_params={'kernel': -values},
    model_state={}, opt_state={'mu': values.astype(jnp.bfloat16)}, skipped=jnp.zeros(2, jnp.int32))


def template(width: int = 300) -> TrainState:
  sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state(0, width))


def save(workdir: Path, *steps: int) -> None:
  with Checkpoints(workdir, 3) as checkpoints:
    for step in steps:
      checkpoints.save(state(step), step)


def restore(workdir: Path) -> int:
  """Restores and returns the step, after seeing that every bit is that step's."""
  with Checkpoints(workdir, 3) as checkpoints:
    found = checkpoints.restore(template())
  jax.tree.map(np.testing.assert_array_equal, found, state(int(found.step)))
  return int(found.step)


@pytest.fixture(scope='module')
def saved(tmp_path_factory) -> Path:
  workdir = tmp_path_factory.mktemp('saved')
  save(workdir, 1, 2)
  return workdir


def flip(data: bytes, bit: int) -> bytes:
  changed = bytearray(data)
  changed[bit // 8 % len(data)] ^= 1 << bit % 8
  return bytes(changed)


DAMAGE = {
  'deleted': lambda path: path.unlink(),
  'emptied': lambda path: path.write_bytes(b''),
  'cut': lambda path: path.write_bytes(path.read_bytes()[:len(path.read_bytes()) // 2]),
  'flipped': lambda path: path.write_bytes(flip(path.read_bytes(), 4001)),
}


@pytest.mark.parametrize('damage', DAMAGE)
def test_each_file_damaged(saved, damage, tmp_path):
  files = [path.relative_to(saved) for path in sorted((saved / 'checkpoints' / '2').rglob('*'))
           if path.is_file() and path.stat().st_size]
  assert len(files) > 8
  steps = []
  for i, file in enumerate(files):
    workdir = tmp_path / str(i)
    shutil.copytree(saved, workdir)
    DAMAGE[damage](workdir / file)
    steps.append(restore(workdir))
    if steps[-1] == 1:
      assert len(list((workdir / 'corrupt').iterdir())) == 1
      save(workdir, 2)  # where the damaged one was
      assert restore(workdir) == 2
  assert set(steps) == {1, 2}, 'some files matter, some do not'


def test_flipped_bits_of_the_arrays_are_seen(saved, tmp_path):
  arrays = max((saved / 'checkpoints' / '2' / 'state').rglob('*'), key=lambda path: path.stat().st_size)
  sound = arrays.read_bytes()
  bits = np.random.default_rng(0).choice(8 * len(sound), 12, replace=False)
  steps = []
  for i, bit in enumerate(bits):
    workdir = tmp_path / str(i)
    shutil.copytree(saved, workdir)
    (workdir / arrays.relative_to(saved)).write_bytes(flip(sound, int(bit)))
    steps.append(restore(workdir))
  assert steps.count(1) > 6, 'most bits of the largest file are values'


def test_nothing_whole_is_an_error_and_changes_nothing(saved, tmp_path):
  workdir = tmp_path / 'run'
  shutil.copytree(saved, workdir)
  for step in '12':
    (workdir / 'checkpoints' / step / 'state' / '_METADATA').write_text('')
  before = sorted(workdir.rglob('*'))
  with pytest.raises(CheckpointError, match='step 2: .*step 1: '):
    restore(workdir)
  assert sorted(workdir.rglob('*')) == before


def test_nothing_saved_is_nothing(tmp_path):
  with Checkpoints(tmp_path, 3) as checkpoints:
    assert checkpoints.restore(template()) is None


@pytest.mark.parametrize('stray', ['empty folder', 'file', 'half a copy', 'link'])
def test_strays_are_no_checkpoints(saved, stray, tmp_path):
  workdir = tmp_path / 'run'
  shutil.copytree(saved, workdir)
  three = workdir / 'checkpoints' / '3'
  if stray == 'empty folder':
    three.mkdir()
  elif stray == 'file':
    three.write_text('')
  elif stray == 'half a copy':
    shutil.copytree(workdir / 'checkpoints' / '2', three)
    shutil.rmtree(three / 'state' / 'd')
  else:
    three.symlink_to(saved / 'checkpoints' / '2')
  assert restore(workdir) == 2
  save(workdir, 3)
  assert restore(workdir) == 3


def test_another_model_is_refused_by_name(saved):
  differs = r'params\.kernel is .*4, 300.*4, 200'
  with Checkpoints(saved, 3) as checkpoints, pytest.raises(CheckpointError, match=differs):
    checkpoints.restore(template(width=200))


def test_failed_saves_are_borne_then_end_the_run(tmp_path, monkeypatch):
  with pytest.raises(CheckpointError, match='3 checkpoints in a row'), Checkpoints(tmp_path, 3) as checkpoints:
    checkpoints.save(state(1), 1)
    checkpoints.finish()

    def fail(*_, **__):
      raise OSError(28, 'No space left on device')

    monkeypatch.setattr(checkpoints._manager, 'save', fail)
    for step in (2, 3, 4):
      checkpoints.save(state(step), step)
  monkeypatch.undo()
  assert restore(tmp_path) == 1


def test_a_failed_last_save_is_not_silent(tmp_path, monkeypatch):
  with pytest.raises(CheckpointError, match='last checkpoint'), Checkpoints(tmp_path, 3) as checkpoints:
    monkeypatch.setattr(checkpoints._manager, 'save', lambda *_, **__: (_ for _ in ()).throw(OSError(28, 'full')))
    checkpoints.save(state(1), 1)


@pytest.mark.parametrize('end', [None, ValueError, KeyboardInterrupt, SystemExit])
def test_however_a_run_ends_the_save_in_flight_is_finished(end, tmp_path):
  expected = pytest.raises(end) if end else contextlib.nullcontext()
  with expected, Checkpoints(tmp_path, 3) as checkpoints:
    checkpoints.save(state(1), 1)
    if end:
      raise end
  assert restore(tmp_path) == 1


def test_an_old_step_whose_deletion_was_cut_short_is_never_used(tmp_path):
  save(tmp_path, 1, 2, 3)
  for path in (tmp_path / 'checkpoints' / '1').rglob('*'):
    if path.is_file() and 'ocdbt' in str(path):
      path.unlink()
  shutil.rmtree(tmp_path / 'checkpoints' / '3' / 'state')
  assert restore(tmp_path) == 2
