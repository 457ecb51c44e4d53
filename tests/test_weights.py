"""Weights of another run: they are that run's EMA weights, and whatever does not fit is refused in one line."""

import shutil

import jax
import numpy as np
import pytest

from configs import mim_digits, mscn_digits, mscn_resnet50_byol, msn_digits, vqgan_digits
from maskrep import plan as planning
from maskrep import run as running
from maskrep import weights, workdir
from maskrep.checkpoint import Checkpoints
from maskrep.errors import CheckpointError, ConfigError
from maskrep.mesh import make_mesh
from maskrep.train.program import make_program
from tests.tiny import shrink


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
  """Workdirs of a tokenizer, and of a supervised run without MIM."""
  found = {}
  for name, config in {'tokenizer': vqgan_digits.get_config(), 'encoder': mim_digits.get_config()}.items():
    config = shrink(config, steps=2)
    if name == 'encoder':
      config.objective.mim_weight = 0.0
    found[name] = tmp_path_factory.mktemp(name)
    running.run(config, found[name])
  return found


@pytest.fixture
def config(runs):
  config = shrink(mim_digits.get_config(), steps=2)
  config.target.weights = str(runs['tokenizer'])
  return config


def ema_of(run, part):
  config = shrink(mim_digits.get_config() if part == 'encoder' else vqgan_digits.get_config())
  config.objective.update({'mim_weight': 0.0} if part == 'encoder' else {})
  plan = planning.make(config)
  program = make_program(plan.objective, plan.optim, epochs=1.0, examples=8, batch_size=8, seed=0, mesh=make_mesh())
  with Checkpoints(run, 3) as checkpoints:
    return checkpoints.restore(program.state).ema_params[part]


def test_the_tokenizer_is_the_other_runs(config, runs):
  plan = planning.make(config)
  jax.tree.map(np.testing.assert_array_equal, plan.frozen, ema_of(runs['tokenizer'], 'tokenizer'))
  assert plan.fingerprint == f'{plan.loader.fingerprint}, tokenizer {weights.digest(plan.frozen)}'
  changed = jax.tree.map(lambda leaf: leaf.at[(0,) * leaf.ndim].add(1), plan.frozen)
  assert weights.digest(changed) != weights.digest(plan.frozen)


def test_a_warm_start_takes_the_encoder_alone_and_only_once(config, runs):
  plan = planning.make(config)
  program = make_program(plan.objective, plan.optim, epochs=1.0, examples=8, batch_size=8, seed=1, mesh=make_mesh())
  cold = program.init()
  config.train.init_from = str(runs['encoder'])
  warm = planning.make(config).warm_start(cold)
  for tree in (warm.params, warm.ema_params):
    jax.tree.map(np.testing.assert_array_equal, tree['encoder'], ema_of(runs['encoder'], 'encoder'))
  jax.tree.map(np.testing.assert_array_equal, warm.params['decoder'], cold.params['decoder'])
  assert planning.make(config, resumed=True).warm_start(cold) is cold
  shared = {id(leaf) for leaf in jax.tree.leaves(warm.params)} & {id(leaf) for leaf in jax.tree.leaves(warm.ema_params)}
  assert not shared, 'a step donates its state'


def test_a_warm_start_takes_running_statistics(tmp_path):
  """BYOL's teacher has its own, and its weights are those that are taken: with InfoNCE one network gets both."""
  byol = shrink(mscn_resnet50_byol.get_config(), steps=2)
  running.run(byol, tmp_path)
  plan = planning.make(byol)
  program = make_program(plan.objective, plan.optim, epochs=1.0, examples=8, batch_size=8, seed=0, mesh=make_mesh())
  with Checkpoints(tmp_path, 3) as checkpoints:
    there = checkpoints.restore(program.state)
  teacher, student = (there.model_state[name]['encoder'] for name in ('teacher', 'student'))
  assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (teacher, student)), strict=True))

  config = shrink(mscn_digits.get_config(), steps=2)
  config.encoder = byol.encoder
  config.optim.ema_momentum = config.optim.final_ema_momentum = 0.0
  config.train.init_from = str(tmp_path)
  plan = planning.make(config)
  program = make_program(plan.objective, plan.optim, epochs=1.0, examples=8, batch_size=8, seed=1, mesh=make_mesh())
  warm = plan.warm_start(program.init())
  jax.tree.map(np.testing.assert_array_equal, warm.model_state['student']['encoder'], teacher)
  jax.tree.map(np.testing.assert_array_equal, warm.params['encoder'], there.ema_params['encoder'])


def test_reading_changes_nothing_and_many_may_read(config, runs):
  half = runs['tokenizer'] / 'checkpoints' / '7.orbax-checkpoint-tmp-0'
  half.mkdir()
  before = sorted(runs['tokenizer'].rglob('*'))
  with workdir.resting(runs['tokenizer']):
    planning.make(config)
  assert sorted(runs['tokenizer'].rglob('*')) == before
  half.rmdir()


def test_a_run_that_is_under_way_is_refused(config, runs):
  with workdir.held(runs['tokenizer']), pytest.raises(CheckpointError, match='a run is under way there'):
    planning.make(config)


def test_a_warm_start_trains(config, runs, tmp_path):
  config.train.init_from = str(runs['encoder'])
  running.run(config, tmp_path)
  assert len((tmp_path / 'metrics.jsonl').read_text().splitlines()) == 2


@pytest.mark.parametrize(('change', 'said'), [
  ({'tokenizer.codebook_size': 32}, r'target\.weights=.*its tokenizer is another than this config asks for: codebook'),
  ({'target.weights': 'encoder'}, r'target\.weights=.*is a run of mim, which has no tokenizer'),
  ({'train.init_from': 'tokenizer'}, r'train\.init_from=.*is a run of vqgan, which has no encoder'),
  ({'train.init_from': 'encoder', 'encoder.width': 32}, r'train\.init_from=.*its encoder is another'),
])
def test_weights_that_do_not_fit_are_refused(change, said, config, runs):
  with config.unlocked():
    config.update_from_flattened_dict({field: str(runs.get(value, value)) if isinstance(value, str) else value
                                       for field, value in change.items()})
  with pytest.raises(ConfigError, match=said) as error:
    planning.make(config)
  assert len(str(error.value).splitlines()) == 1


@pytest.mark.slow
def test_a_run_that_has_saved_nothing_is_refused(config, tmp_path):
  running.run(shrink(msn_digits.get_config(), steps=1), tmp_path)
  config.train.init_from = str(tmp_path)
  for step in (tmp_path / 'checkpoints').iterdir():
    step.rename(tmp_path / step.name)
  config.encoder = shrink(msn_digits.get_config()).encoder
  config.views.size = 16
  with pytest.raises(CheckpointError, match='has no checkpoint yet'):
    planning.make(config)


def test_another_tokenizer_in_mid_run_is_refused(config, runs, tmp_path):
  config.target.weights = str(shutil.copytree(runs['tokenizer'], tmp_path / 'tokenizer'))
  running.run(config, tmp_path / 'run')
  shutil.rmtree(config.target.weights)
  other = shrink(vqgan_digits.get_config(), steps=1)
  other.seed = 1
  running.run(other, tmp_path / 'tokenizer')
  with pytest.raises(ConfigError, match='holds a run on other data:\n  data: .*tokenizer .* -> '):
    running.run(config, tmp_path / 'run')
