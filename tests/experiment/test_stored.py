"""Weights of another run: they are that run's EMA weights, and whatever does not fit is refused in one line."""

import json
import shutil

import jax
import numpy as np
import pytest

from maskrep.cli.export import main as export
from maskrep.configs import extrema_digits, mim_digits, mscn_digits, mscn_resnet50_byol, vqgan_digits
from maskrep.configs.evaluation import finetune_extrema_semi, linear
from maskrep.errors import CheckpointError, ConfigError
from maskrep.experiment.run import run
from maskrep.experiment.stored import pretrained
from maskrep.weights import native
from maskrep.weights.pretrained import digest
from maskrep.workdir.classes import load_classes
from maskrep.workdir.lock import exclusive_lock, shared_lock
from tests.support.stored import first_state, opened, store
from tests.support.tiny import completed, shrink


@pytest.fixture(scope='module')
def stored(tmp_path_factory):
  """{part: (workdir, state)} of a tokenizer, and of a supervised run without MIM."""
  configs = {'tokenizer': shrink(vqgan_digits.get_config()), 'encoder': shrink(mim_digits.get_config())}
  configs['encoder'].objective.mim_weight = 0.0
  folders = {part: tmp_path_factory.mktemp(part) for part in configs}
  return {part: (folder, store(configs[part], folder)) for part, folder in folders.items()}


@pytest.fixture
def runs(stored):
  return {part: folder for part, (folder, _) in stored.items()}


@pytest.fixture
def config(runs):
  config = shrink(mim_digits.get_config(), steps=2)
  config.target.weights = str(runs['tokenizer'])
  return config


def test_the_tokenizer_is_the_other_runs(config, stored):
  plan = opened(config)
  jax.tree.map(np.testing.assert_array_equal, plan.frozen, stored['tokenizer'][1].ema_params['tokenizer'])
  assert plan.fingerprint == f'{plan.loader.fingerprint}, tokenizer {digest(plan.frozen)}'
  changed = jax.tree.map(lambda leaf: leaf.at[(0,) * leaf.ndim].add(1), plan.frozen)
  assert digest(changed) != digest(plan.frozen)


def test_a_warm_start_takes_the_encoder_alone_and_only_once(config, runs, stored):
  _, cold = first_state(config)
  config.train.init_from = str(runs['encoder'])
  warm = opened(config).warm_start(cold)
  for tree in (warm.params, warm.ema_params):
    jax.tree.map(np.testing.assert_array_equal, tree['encoder'], stored['encoder'][1].ema_params['encoder'])
  jax.tree.map(np.testing.assert_array_equal, warm.params['decoder'], cold.params['decoder'])
  assert opened(config, resumed=True).warm_start(cold) is cold
  shared = {id(leaf) for leaf in jax.tree.leaves(warm.params)} & {id(leaf) for leaf in jax.tree.leaves(warm.ema_params)}
  assert not shared, 'a step donates its state'


def test_a_warm_start_takes_the_decoder_too_if_it_is_carried_over(config, stored, tmp_path):
  there = store(config, tmp_path)
  _, cold = first_state(config)
  config.train.init_from, config.objective.carry_decoder = str(tmp_path), True
  plan = opened(config)
  warm = plan.warm_start(cold)
  for tree in (warm.params, warm.ema_params):
    for part in ('encoder', 'decoder'):
      jax.tree.map(np.testing.assert_array_equal, tree[part], there.ema_params[part])
    jax.tree.map(np.testing.assert_array_equal, tree['classifier'], cold.params['classifier'])
  config.objective.carry_decoder = False
  assert opened(config).start_digest != plan.start_digest

  config.objective.carry_decoder = True
  config.decoder.heads = 4
  with pytest.raises(ConfigError, match='its decoder has heads=2, and config.decoder.heads is 4; give the same'):
    opened(config)
  config.decoder.heads, config.train.init_from = 2, str(stored['encoder'][0])
  with pytest.raises(ConfigError, match=r'train\.init_from=.*is a run of mim, which has no decoder'):
    opened(config)


def test_semi_supervised_fine_tuning_starts_on_the_first_layer_of_the_projector(stored, tmp_path):
  """Bit-equal to the EMA's, with its norm; a run without a projector is refused."""
  there = store(shrink(extrema_digits.get_config()), tmp_path)
  config = shrink(completed(finetune_extrema_semi.get_config(), 'cait'))
  config.encoder, config.views.size = shrink(extrema_digits.get_config()).encoder, 16
  config.projector = shrink(extrema_digits.get_config()).projector
  config.train.init_from = str(tmp_path)
  plan, cold = first_state(config)
  warm = plan.warm_start(cold)
  for tree in (warm.params, warm.ema_params):
    assert tree['projector'].keys() == {'fc1', 'norm1'} and tree['classifier']['dense']['kernel'].shape == (16, 10)
    jax.tree.map(np.testing.assert_array_equal, tree['projector'],
                 {name: there.ema_params['projector'][name] for name in ('fc1', 'norm1')})
    jax.tree.map(np.testing.assert_array_equal, tree['encoder'], there.ema_params['encoder'])
  assert not np.array_equal(there.params['projector']['fc1']['kernel'], there.ema_params['projector']['fc1']['kernel'])

  config.projector.hidden = 24
  with pytest.raises(ConfigError, match='its projector is another than this config asks for: fc1.bias'):
    opened(config)
  config.encoder = shrink(mim_digits.get_config()).encoder
  config.train.init_from = str(stored['encoder'][0])
  with pytest.raises(ConfigError, match=r'train\.init_from=.*is a run of mim, which has no projector'):
    opened(config)
  native.save(tmp_path / 'import', pretrained('', config.train.init_from)[0])
  config.train.init_from = str(tmp_path / 'import')
  with pytest.raises(ConfigError, match='holds an import, which has no projector; give the workdir of a run'):
    opened(config)


def test_a_warm_start_takes_running_statistics(tmp_path):
  """BYOL's teacher has its own, and its weights are those that are taken: with InfoNCE one network gets both."""
  byol = shrink(mscn_resnet50_byol.get_config())
  there = store(byol, tmp_path)
  config = shrink(mscn_digits.get_config())
  config.encoder = byol.encoder
  config.train.init_from = str(tmp_path)
  plan, cold = first_state(config)
  warm = plan.warm_start(cold)
  jax.tree.map(np.testing.assert_array_equal, warm.model_state['student']['encoder'],
               there.model_state['teacher']['encoder'])
  jax.tree.map(np.testing.assert_array_equal, warm.params['encoder'], there.ema_params['encoder'])

  # So does a probe of it, whose own statistics stay.
  probe = shrink(completed(linear.get_config(), 'resnet'))
  probe.encoder.update({field: byol.encoder[field] for field in ('depth', 'width', 'stem')})
  probe.train.init_from = str(tmp_path)
  plan, cold = first_state(probe)
  warm = plan.warm_start(cold)
  jax.tree.map(np.testing.assert_array_equal, warm.model_state['student']['encoder'],
               there.model_state['teacher']['encoder'])
  jax.tree.map(np.testing.assert_array_equal, warm.model_state['student']['input_norm'],
               cold.model_state['student']['input_norm'])
  jax.tree.map(np.testing.assert_array_equal, warm.params['encoder'], there.ema_params['encoder'])


def test_reading_changes_nothing_and_many_may_read(config, runs):
  half = runs['tokenizer'] / 'checkpoints' / '9.orbax-checkpoint-tmp-0'
  half.mkdir()
  before = sorted(runs['tokenizer'].rglob('*'))
  with shared_lock(runs['tokenizer']):
    opened(config)
  assert sorted(runs['tokenizer'].rglob('*')) == before
  half.rmdir()


def test_a_run_that_is_under_way_is_refused(config, runs):
  with exclusive_lock(runs['tokenizer']), pytest.raises(CheckpointError, match='a run is under way there'):
    opened(config)


@pytest.mark.usefixtures('compiled_once')
def test_a_warm_start_trains(config, runs, tmp_path):
  config.train.init_from = str(runs['encoder'])
  run(config, tmp_path)
  assert len((tmp_path / 'metrics.jsonl').read_text().splitlines()) == 2
  assert load_classes(tmp_path) == list('0123456789')


def test_the_names_of_classes_go_with_the_weights(stored, tmp_path):
  """Those of a classifier too, which our own format alone has a place for."""
  export(['', f'--workdir={stored["encoder"][0]}', '--format=npz', '--what=full', f'--output={tmp_path}/w.npz'])
  assert json.loads((tmp_path / 'w.json').read_text())['source']['class_names'] == list('0123456789')
  damaged = shutil.copytree(stored['encoder'][0], tmp_path / 'run') / 'classes.json'
  damaged.write_text('{}')
  with pytest.raises(CheckpointError, match='classes.json: is damaged'):
    pretrained('', tmp_path / 'run')


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
    opened(config)
  assert len(str(error.value).splitlines()) == 1


def test_a_run_that_has_saved_nothing_is_refused(config, runs, tmp_path):
  shutil.copytree(runs['encoder'], tmp_path / 'run')
  for step in (tmp_path / 'run' / 'checkpoints').iterdir():
    step.rename(tmp_path / step.name)
  config.train.init_from = str(tmp_path / 'run')
  with pytest.raises(CheckpointError, match='has no checkpoint yet'):
    opened(config)


@pytest.mark.usefixtures('compiled_once')
def test_another_tokenizer_in_mid_run_is_refused(config, runs, tmp_path):
  config.target.weights = str(shutil.copytree(runs['tokenizer'], tmp_path / 'tokenizer'))
  run(config, tmp_path / 'run')
  shutil.rmtree(config.target.weights)
  other = shrink(vqgan_digits.get_config())
  other.seed = 1
  store(other, tmp_path / 'tokenizer')
  with pytest.raises(ConfigError, match='holds a run on other data:\n  data: .*tokenizer .* -> '):
    run(config, tmp_path / 'run')
