"""A part of a state: its leaves are those of the full restore, verified, and little else is read from the disk."""

from pathlib import Path
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from maskrep.errors import CheckpointError
from maskrep.types import TrainState
from maskrep.workdir.checkpoint import Checkpoints

PROC_IO = Path('/proc/self/io')
SMALL, LARGE = 3000, 400_000  # values of a leaf of the encoder, and of its head
FIVE = np.zeros(5, np.int32)


def bits(seed: int, *shape: int) -> jax.Array:
  """Values that do not compress, so that their bytes are found in the files."""
  return jnp.asarray(np.random.default_rng(seed).integers(-2**31, 2**31, shape, np.int32))


def network(seed: int) -> dict:
  return {'encoder': {'block': {'kernel': bits(seed, 3, SMALL // 3)}, 'pos': bits(seed + 1, SMALL)},
          'head': {'kernel': bits(seed + 2, LARGE)}}


def state(step: int) -> TrainState:
  seed = 100 * step
  return TrainState(
    step=jnp.int32(step), params=network(seed), ema_params=network(seed + 10),
    model_state={'student': {'encoder': {'mean': bits(seed + 20, 7)}}, 'teacher': {}},
    opt_state=(optax.ScaleByAdamState(count=jnp.int32(step), mu=network(seed + 30), nu=network(seed + 40)),
               optax.EmptyState()),
    skipped=jnp.zeros(2, jnp.int32))


def template(tree):
  sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def part(whole: TrainState) -> dict:
  """What an encoder is made of."""
  return {'step': whole.step, 'ema_params': {'encoder': whole.ema_params['encoder']},
          'model_state': {'student': {'encoder': whole.model_state['student']['encoder']}}}


def restore(workdir: Path, wanted, **options):
  with Checkpoints(workdir, 3, **options) as checkpoints:
    return checkpoints.restore(template(wanted))


def assert_same(found, expected) -> None:
  assert jax.tree.structure(found) == jax.tree.structure(expected)
  jax.tree.map(np.testing.assert_array_equal, found, expected)
  assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(found))


@pytest.fixture(scope='module')
def saved(tmp_path_factory) -> Path:
  workdir = tmp_path_factory.mktemp('saved')
  with Checkpoints(workdir, 3) as checkpoints:
    for step in (1, 2):
      checkpoints.save(state(step), step)
  return workdir


@pytest.fixture
def copied(saved, tmp_path) -> Path:
  shutil.copytree(saved, tmp_path / 'run')
  return tmp_path / 'run'


def flip(workdir: Path, leaf: jax.Array) -> None:
  """Flips a bit in the stored bytes of a leaf of step 2."""
  wanted = np.asarray(leaf).tobytes()[400:432]
  places = [(path, place) for path in (workdir / 'checkpoints' / '2' / 'state').rglob('*') if path.is_file()
            if (place := path.read_bytes().find(wanted)) >= 0]
  (path, place), = places
  data = bytearray(path.read_bytes())
  data[place] ^= 1
  path.write_bytes(data)


@pytest.mark.parametrize('read_only', [False, True])
def test_a_part_is_that_part_of_the_full_restore(saved, read_only):
  full = restore(saved, state(0), read_only=read_only)
  assert_same(full, state(2))
  assert_same(restore(saved, part(state(0)), read_only=read_only), part(full))


@pytest.mark.parametrize('choose', [
  lambda whole: {'step': whole.step},
  lambda whole: {'opt_state': whole.opt_state},
  lambda whole: {'params': whole.params, 'skipped': whole.skipped},
  lambda whole: {'ema_params': {'encoder': whole.ema_params['encoder']}, 'model_state': {}},
  lambda whole: {'ema_params': {'encoder': {'pos': whole.ema_params['encoder']['pos'], 'block': {}}},
                 'model_state': {'student': {'encoder': {}}, 'other': {}}},
], ids=['a leaf', 'tuples', 'whole fields', 'nothing of a field', 'nothing of sub-trees'])
def test_any_part_can_be_asked_for(saved, choose):
  assert_same(restore(saved, choose(state(0))), choose(state(2)))


def test_nothing_saved_is_nothing(tmp_path):
  assert restore(tmp_path, part(state(0))) is None


@pytest.mark.parametrize(('wanted', 'message'), [
  ({'ema_params': {'encoder': {'pos': FIVE}}}, r'ema_params.encoder.pos is int32\[3000\] in the .* and int32\[5\] in'),
  ({'ema_params': {'encoder': {'cls': FIVE}}}, 'ema_params.encoder.cls is missing in the checkpoint'),
  ({'weights': FIVE}, 'weights is missing in the checkpoint'),
])
def test_a_leaf_that_is_missing_or_of_another_shape_is_named(saved, wanted, message):
  with pytest.raises(CheckpointError, match=f'step 2: ValueError: {message}'):
    restore(saved, wanted)


def test_a_flipped_bit_is_found_in_what_is_asked_for_and_only_there(copied):
  flip(copied, state(2).params['encoder']['pos'])
  assert_same(restore(copied, part(state(0))), part(state(2)))
  assert not (copied / 'corrupt').exists()
  # The whole state, and a part with this leaf, fall back to the step before.
  assert_same(restore(copied, state(0), read_only=True), state(1))
  assert_same(restore(copied, {'params': state(0).params}), {'params': state(1).params})
  assert len(list((copied / 'corrupt').iterdir())) == 1


def test_a_part_that_is_nowhere_intact_is_an_error(copied):
  flip(copied, state(2).ema_params['encoder']['pos'])
  shutil.rmtree(copied / 'checkpoints' / '1')
  before = sorted(copied.rglob('*'))
  with pytest.raises(CheckpointError, match='step 2: .*1 of 4 leaves .* the first ema_params.encoder.pos'):
    restore(copied, part(state(0)))
  assert sorted(copied.rglob('*')) == before


@pytest.mark.skipif(not PROC_IO.exists(), reason='counts the bytes that the process reads by Linux /proc')
def test_few_bytes_are_read(saved):
  def bytes_read(wanted) -> int:
    restore(saved, wanted)  # imports, and compiles fingerprints
    before = int(PROC_IO.read_text().split()[1])  # rchar: of all read calls, from the page cache too
    restore(saved, wanted)
    return int(PROC_IO.read_text().split()[1]) - before

  whole, encoder = bytes_read(state(0)), bytes_read(part(state(0)))
  assert whole > 4 * 4 * LARGE
  assert encoder < 2 * 4 * SMALL + 150_000  # its two leaves; indices, metadata and fingerprints
