"""Exports of whole runs, and runs that start from imports."""

import dataclasses
import json

from flax.traverse_util import flatten_dict
import jax
import numpy as np
import pytest

from maskrep.cli import evaluate, export, import_weights
from maskrep.configs import extrema_digits, mim_digits, mscn_digits, msn_digits, vqgan_digits
from maskrep.devices.mesh import make_mesh
from maskrep.errors import ConfigError
from maskrep.evaluation.of_run import RunEvaluator
from maskrep.experiment import stored
from maskrep.models.encoder import describe
from maskrep.weights import files, native
from maskrep.weights.pretrained import Pretrained, flat
from tests.support.encoders import CAIT, RESNET, VIT, VQGAN, pretrained, proof, run
from tests.support.stored import first_state, opened, store
from tests.support.tiny import shrink

CONFIGS = {'vqgan': vqgan_digits, 'msn': msn_digits, 'extrema': extrema_digits, 'mscn': mscn_digits}


def config_of(method):
  return shrink(CONFIGS[method].get_config())


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
  """{method: (workdir, state)}: as a run leaves them, where student and teacher differ."""
  folders = {method: tmp_path_factory.mktemp(method) for method in ('msn', 'extrema', 'vqgan')}
  return {method: (folder, store(config_of(method), folder)) for method, folder in folders.items()}


def test_a_whole_msn_run_in_the_authors_layout(runs, tmp_path, torchvision):
  folder, state = runs['msn']
  run(export, workdir=folder, format='msn', output=tmp_path / 'w.pth.tar', what='full')
  certificate = proof(tmp_path)
  assert certificate['source']['step'] == 7 and certificate['source']['config']['method'] == 'msn'
  assert certificate['preprocessing'] == {
    'size': 16, 'crop_fraction': 1.0, 'filter': 'bilinear', 'mean': [0.3] * 3, 'std': [0.38] * 3, 'squash': False,
    'high_pass_sigma': 0.0}
  arrays = files.read(tmp_path / 'w.pth.tar')
  for part, params in (('encoder', state.params), ('target_encoder', state.ema_params)):
    np.testing.assert_array_equal(arrays[f'{part}.module.cls_token'], params['encoder']['cls'])
    np.testing.assert_array_equal(arrays[f'{part}.module.fc.fc1.weight'], params['head']['fc1']['kernel'].T)
    np.testing.assert_array_equal(arrays[f'{part}.module.fc.bn2.weight'], params['head']['bn2']['scale'])
    np.testing.assert_array_equal(arrays[f'{part}.module.fc.bn1.running_var'],
                                  state.model_state['batch_stats']['bn1']['var'])
  np.testing.assert_array_equal(arrays['prototypes'], state.params['prototypes'])


def test_a_whole_extrema_run_in_the_authors_layout(runs, tmp_path, torchvision):
  folder, state = runs['extrema']
  run(export, workdir=folder, format='extrema', output=tmp_path / 'w.pth.tar', what='full')
  proof(tmp_path)
  arrays = files.read(tmp_path / 'w.pth.tar')
  at = 'state_dict.module.momentum_encoder.'
  heads = {name.removeprefix(at).split('.')[1] for name in arrays if name.startswith(f'{at}head.')}
  assert heads == {'0', '1', '3', '4', '6'}
  np.testing.assert_array_equal(arrays[f'{at}head.3.weight'], state.ema_params['projector']['fc2']['kernel'].T)
  np.testing.assert_array_equal(arrays['state_dict.module.predictor.1.weight'],
                                state.params['predictor']['norm1']['scale'])
  np.testing.assert_array_equal(arrays[f'{at}blocks_token.1.gamma_2'],
                                state.ema_params['encoder']['class_block1']['scale2'])


def test_a_tokenizer_of_a_run_is_exported_and_imported(runs, tmp_path, torchvision):
  folder, state = runs['vqgan']
  run(export, workdir=folder, format='safetensors', output=tmp_path / 'w.safetensors', what='full')
  run(import_weights, format='safetensors', input=tmp_path / 'w.safetensors', output=tmp_path / 'ours')
  arrays = native.load('', tmp_path / 'ours').arrays
  for name, value in flatten_dict(state.ema_params['tokenizer'], sep='.').items():
    np.testing.assert_array_equal(arrays[name], value)


def test_a_whole_run_by_our_names_and_formats_that_cannot_hold_it(runs, tmp_path, capsys):
  folder, state = runs['msn']
  run(export, workdir=folder, format='npz', output=tmp_path / 'w.npz', what='full')
  arrays = files.read(tmp_path / 'w.npz')
  for name, value in flatten_dict(state.ema_params, sep='.').items():
    np.testing.assert_array_equal(arrays[name], value)
  assert sum(name.startswith('model_state.batch_stats.') for name in arrays) == len(jax.tree.leaves(state.model_state))
  for name, suffix in (('timm', '.safetensors'), ('hf_msn', '')):
    run(export, 2, workdir=folder, format=name, output=tmp_path / f'x{suffix}', what='full')
    assert 'has a place for the encoder alone' in capsys.readouterr().err
  run(export, 2, workdir=runs['extrema'][0], format='msn', output=tmp_path / 'x.tar', what='full')
  assert 'is a cait' in capsys.readouterr().err
  assert not list(tmp_path.glob('x*'))


def test_a_folder_without_weights_is_refused(tmp_path, capsys):
  run(export, 2, workdir=tmp_path, format='npz', output=tmp_path / 'w.npz')
  error = capsys.readouterr().err
  assert 'holds no run' in error and error.count('\n') == 1, error


IMPORTS = {
  'msn': ('vit', VIT | {'width': 16, 'heads': 2, 'mlp_ratio': 4.0}),
  'extrema': ('cait', CAIT | {'width': 16, 'heads': 2, 'mlp_ratio': 4.0, 'positions': 'learned'}),
  'mscn': ('resnet', RESNET | {'width': 1 / 16, 'stem': 'small'}),
}


@pytest.mark.parametrize('method', IMPORTS)
def test_an_import_starts_a_run(method, tmp_path):
  """With its positions, of 12 pixels, resampled for 16, and its running statistics."""
  ours, config = pretrained(*IMPORTS[method]), config_of(method)
  native.save(tmp_path, ours)
  config.train.init_from = str(tmp_path)
  if method == 'extrema':
    config.encoder.positions = 'learned'
  found, cold = first_state(config)
  warm = found.warm_start(cold)
  stats = {name: value for name, value in ours.arrays.items() if name.rpartition('.')[2] in ('mean', 'var')}
  for branch in ('student', 'teacher'):
    if branch in warm.model_state:
      arrays = flatten_dict(warm.model_state[branch]['encoder'], sep='.')
      assert arrays.keys() == stats.keys()
      assert all((np.asarray(arrays[name]) == value).all() for name, value in stats.items())
  for params in (warm.params, warm.ema_params):
    arrays = flatten_dict(params['encoder'], sep='.')
    assert arrays.keys() == ours.arrays.keys() - stats.keys()
    assert all((np.asarray(arrays[name]) == ours.arrays[name]).all() for name in arrays if name != 'pos')
  leaves = jax.tree.leaves((warm.params, warm.ema_params, warm.model_state))
  pointers = [leaf.unsafe_buffer_pointer() for leaf in leaves]
  assert len(set(pointers)) == len(pointers), 'a step that is given its state to reuse needs each array once'
  if method != 'mscn':
    images = np.random.default_rng(1).normal(size=(2, 16, 16, 3)).astype(np.float32)
    got = found.experiment.objective.encode(warm.params, warm.model_state, images)
    np.testing.assert_allclose(got['cls'], ours.encode(images)['cls'], atol=1e-4)


def test_an_import_that_does_not_fit_is_refused(tmp_path):
  native.save(tmp_path, pretrained('vit', VIT))
  config = config_of('msn')
  config.train.init_from = str(tmp_path)
  with pytest.raises(ConfigError, match=r'train\.init_from=.*its encoder is another than this config asks for: block0'):
    opened(config)
  (tmp_path / 'encoder.safetensors').write_bytes(b'{}')
  with pytest.raises(ConfigError, match='encoder.safetensors') as error:
    opened(config)
  assert len(str(error.value).splitlines()) == 1


def test_as_many_heads_as_the_import_has(tmp_path):
  """No shape tells them."""
  ours, config = pretrained(*IMPORTS['msn']), config_of('msn')
  native.save(tmp_path, ours)
  config.train.init_from, config.encoder.heads = str(tmp_path), 4
  with pytest.raises(ConfigError, match='its encoder has heads=2, and config.encoder.heads is 4; give the same'):
    opened(config)


def test_an_imported_tokenizer_names_tokens(tmp_path, capsys):
  config = shrink(mim_digits.get_config())
  config.tokenizer.update(VQGAN | {'multipliers': (1,), 'attention_levels': (0,)})
  config.target.size = config.views.size // config.encoder.patch_size
  config.target.weights = str(tmp_path)
  ours = pretrained('vqgan', dict(config.tokenizer))
  native.save(tmp_path, ours)
  frozen = flatten_dict(opened(config).frozen, sep='.')
  assert frozen.keys() == ours.arrays.keys()
  assert all((np.asarray(frozen[name]) == value).all() for name, value in ours.arrays.items())
  config.tokenizer.input_range = (0.0, 1.0)
  with pytest.raises(ConfigError, match=r'has input_range=\(-1.0, 1.0\), and config.tokenizer.input_range is \(0.0, 1'):
    opened(config)
  assert evaluate.main(['', 'knn', f'--workdir={tmp_path}', '--config.data.source=digits']) == 2
  assert 'holds a tokenizer, and no encoder' in capsys.readouterr().err


def test_an_import_is_judged_as_its_run_is(tmp_path, capsys):
  """The same accuracies as the objective's own evaluation of its few labels."""
  config = config_of('mscn')
  config.eval.update(max_train_examples=1438, protocols=('lowshot',), batch_size=120)
  config.eval.lowshot.update(labels_per_class=(1, 5), draws=2)
  found, state = first_state(config)
  experiment = found.experiment
  objective = experiment.objective
  kind, sizes = describe(objective.encoder)
  arrays = flat(state.ema_params['encoder'], stored.statistics(state.model_state))
  made = Pretrained(kind=kind, config=sizes, arrays=arrays, preprocessing=objective.preprocessing, source={})
  native.save(tmp_path, made)
  arguments = ['', 'lowshot', f'--workdir={tmp_path}', '--config.data.source=digits', '--config.data.eval_split=test',
               '--config.data.canvas=8', '--config.encoding.batch_size=120', '--config.lowshot.labels_per_class=(1, 5)',
               '--config.lowshot.draws=2']
  assert evaluate.main(arguments) == 0
  record = json.loads((tmp_path / 'evaluations.jsonl').read_text())
  evaluator = RunEvaluator(
    objective=objective, options=experiment.eval, config=experiment.config, train_source=found.loader.source,
    eval_source=found.eval_source, data=experiment.data, seed=0, dtype=experiment.dtype, mesh=make_mesh())
  trained, = evaluator.final(state)
  for figure, result in zip(record['figures'], trained.results, strict=True):
    # One of 359 images, by round-off of the solver.
    np.testing.assert_allclose(figure['each'], result.each, atol=1.1 / 359)
  native.save(tmp_path, dataclasses.replace(made, preprocessing=None))
  assert evaluate.main(arguments) == 2
  assert 'does not say how images are prepared' in capsys.readouterr().err


def test_freezing_is_of_a_warm_start():
  config = config_of('msn')
  config.train.freeze_encoder_steps = 5
  with pytest.raises(ConfigError, match='freeze_encoder_steps=5: must be 0 without init_from'):
    opened(config)


def test_the_ema_encoder_is_what_is_taken(runs):
  folder, state = runs['msn']
  encoder, rest = stored.pretrained('--workdir', folder, full=True)
  np.testing.assert_array_equal(encoder.arrays['pos'], state.ema_params['encoder']['pos'])
  assert rest.method == 'msn' and json.dumps(encoder.source)
