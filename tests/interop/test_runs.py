"""Runs out, heads and all; and imports as the start of runs."""

import json

from flax.traverse_util import flatten_dict
import jax
import numpy as np
import pytest

from configs import extrema_digits, mscn_digits, msn_digits
from maskrep import export, weights, workdir
from maskrep import plan as planning
from maskrep.checkpoint import Checkpoints
from maskrep.errors import ConfigError
from maskrep.interop import files, own
from maskrep.mesh import make_mesh
from maskrep.train.program import make_program
from tests.interop.encoders import CAIT, RESNET, VIT, pretrained, proof, run
from tests.tiny import shrink

CONFIGS = {'msn': msn_digits, 'extrema': extrema_digits, 'mscn': mscn_digits}


def config_of(method):
  return shrink(CONFIGS[method].get_config())


def first_state(config):
  """The plan and the first state of a run."""
  plan = planning.make(config)
  program = make_program(plan.objective, plan.optim, epochs=1.0, examples=8, batch_size=8, seed=0, mesh=make_mesh())
  return plan, program.init()


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
  """{method: (workdir, state)}: as a run leaves them, where student and teacher differ."""
  made = {}
  for method in ('msn', 'extrema'):
    folder, config = tmp_path_factory.mktemp(method), config_of(method)
    _, state = first_state(config)
    state = state.replace(step=state.step + 7, ema_params=jax.tree.map(lambda leaf: leaf * 0.5 + 0.1, state.params))
    workdir.store_config(folder, config)
    with Checkpoints(folder, 1) as checkpoints:
      checkpoints.save(state, 7)
    made[method] = folder, state
  return made


def test_a_whole_msn_run_in_the_authors_layout(runs, tmp_path, torchvision):
  folder, state = runs['msn']
  run(export, workdir=folder, format='msn', output=tmp_path / 'w.pth.tar', what='full')
  found = proof(tmp_path)
  assert found['source']['step'] == 7 and found['source']['config']['method'] == 'msn'
  assert found['preprocessing'] == {'size': 16, 'crop_fraction': 1.0, 'filter': 'bilinear', 'mean': [0.3] * 3,
                                    'std': [0.38] * 3}
  held = files.read(tmp_path / 'w.pth.tar')
  for part, params in (('encoder', state.params), ('target_encoder', state.ema_params)):
    np.testing.assert_array_equal(held[f'{part}.module.cls_token'], params['encoder']['cls'])
    np.testing.assert_array_equal(held[f'{part}.module.fc.fc1.weight'], params['head']['fc1']['kernel'].T)
    np.testing.assert_array_equal(held[f'{part}.module.fc.bn2.weight'], params['head']['bn2']['scale'])
    np.testing.assert_array_equal(held[f'{part}.module.fc.bn1.running_var'],
                                  state.model_state['batch_stats']['bn1']['var'])
  np.testing.assert_array_equal(held['prototypes'], state.params['prototypes'])


def test_a_whole_extrema_run_in_the_authors_layout(runs, tmp_path, torchvision):
  folder, state = runs['extrema']
  run(export, workdir=folder, format='extrema', output=tmp_path / 'w.pth.tar', what='full')
  proof(tmp_path)
  held = files.read(tmp_path / 'w.pth.tar')
  at = 'state_dict.module.momentum_encoder.'
  heads = {name.removeprefix(at).split('.')[1] for name in held if name.startswith(f'{at}head.')}
  assert heads == {'0', '1', '3', '4', '6'}
  np.testing.assert_array_equal(held[f'{at}head.3.weight'], state.ema_params['projector']['fc2']['kernel'].T)
  np.testing.assert_array_equal(held['state_dict.module.predictor.1.weight'],
                                state.params['predictor']['norm1']['scale'])
  np.testing.assert_array_equal(held[f'{at}blocks_token.1.gamma_2'],
                                state.ema_params['encoder']['class_block1']['scale2'])


def test_a_whole_run_by_our_names_and_what_others_cannot_hold(runs, tmp_path, capsys):
  folder, state = runs['msn']
  run(export, workdir=folder, format='npz', output=tmp_path / 'w.npz', what='full')
  held = files.read(tmp_path / 'w.npz')
  for name, value in flatten_dict(state.ema_params, sep='.').items():
    np.testing.assert_array_equal(held[name], value)
  assert sum(name.startswith('model_state.batch_stats.') for name in held) == len(jax.tree.leaves(state.model_state))
  for name, suffix in (('timm', '.safetensors'), ('hf_msn', '')):
    run(export, 2, workdir=folder, format=name, output=tmp_path / f'x{suffix}', what='full')
    assert 'has a place for the encoder alone' in capsys.readouterr().err
  run(export, 2, workdir=runs['extrema'][0], format='msn', output=tmp_path / 'x.tar', what='full')
  assert 'is a cait' in capsys.readouterr().err
  assert not list(tmp_path.glob('x*'))


IMPORTS = {
  'msn': ('vit', VIT | {'width': 16, 'heads': 2, 'mlp_ratio': 4.0}),
  'extrema': ('cait', CAIT | {'width': 16, 'heads': 2, 'mlp_ratio': 4.0, 'positions': 'learned'}),
  'mscn': ('resnet', RESNET | {'width': 1 / 16, 'stem': 'small'}),
}


@pytest.mark.parametrize('method', IMPORTS)
def test_an_import_starts_a_run(method, tmp_path):
  """With its positions, of 12 pixels, resampled for 16, and its running statistics."""
  ours, config = pretrained(*IMPORTS[method]), config_of(method)
  own.save(tmp_path, ours)
  config.train.init_from = str(tmp_path)
  if method == 'extrema':
    config.encoder.positions = 'learned'
  plan, cold = first_state(config)
  warm = plan.warm_start(cold)
  stats = {name: value for name, value in ours.arrays.items() if name.rpartition('.')[2] in ('mean', 'var')}
  for branch in ('student', 'teacher'):
    if branch in warm.model_state:
      found = flatten_dict(warm.model_state[branch]['encoder'], sep='.')
      assert found.keys() == stats.keys()
      assert all((np.asarray(found[name]) == value).all() for name, value in stats.items())
  for params in (warm.params, warm.ema_params):
    found = flatten_dict(params['encoder'], sep='.')
    assert found.keys() == ours.arrays.keys() - stats.keys()
    assert all((np.asarray(found[name]) == ours.arrays[name]).all() for name in found if name != 'pos')
  leaves = jax.tree.leaves((warm.params, warm.ema_params, warm.model_state))
  pointers = [leaf.unsafe_buffer_pointer() for leaf in leaves]
  assert len(set(pointers)) == len(pointers), 'a step that is given its state to reuse needs each array once'
  if method != 'mscn':
    images = np.random.default_rng(1).normal(size=(2, 16, 16, 3)).astype(np.float32)
    got = plan.objective.encode(warm.params, warm.model_state, images)
    np.testing.assert_allclose(got['cls'], ours.encode(images)['cls'], atol=1e-4)


def test_an_import_that_does_not_fit_is_refused(tmp_path):
  own.save(tmp_path, pretrained('vit', VIT))
  config = config_of('msn')
  config.train.init_from = str(tmp_path)
  with pytest.raises(ConfigError, match=r'train\.init_from=.*its encoder is another than this config asks for: block0'):
    planning.make(config)
  (tmp_path / 'encoder.safetensors').write_bytes(b'{}')
  with pytest.raises(ConfigError, match='encoder.safetensors') as error:
    planning.make(config)
  assert len(str(error.value).splitlines()) == 1


def test_freezing_is_of_a_warm_start():
  config = config_of('msn')
  config.train.freeze_encoder_steps = 5
  with pytest.raises(ConfigError, match='freeze_encoder_steps=5: must be 0, or above it with init_from'):
    planning.make(config)


def test_the_ema_encoder_is_what_is_taken(runs):
  folder, state = runs['msn']
  found, rest = weights.pretrained('--workdir', str(folder))
  np.testing.assert_array_equal(found.arrays['pos'], state.ema_params['encoder']['pos'])
  assert rest.method == 'msn' and json.dumps(found.source)
