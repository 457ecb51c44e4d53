"""Arrays that do not fit are named, with near names; those that --allow matches are initialised or left out."""

import json
import re

import numpy as np
import pytest

from maskrep.cli import export, import_weights
from maskrep.errors import ConfigError
from maskrep.weights import files, names, native, strict
from maskrep.weights.formats import timm_vit
from tests.support.encoders import CAIT, VIT, pretrained, run

STATE = timm_vit.to_foreign(pretrained('vit', VIT).arrays, VIT)


def renamed(state):
  return {name.replace('blocks.1.norm2', 'blocks.1.norm_2'): value for name, value in state.items()}


CHANGES = {
  'missing': (lambda s: {n: v for n, v in s.items() if n != 'blocks.1.mlp.fc1.bias'},
              ['missing: blocks.1.mlp.fc1.bias\n']),
  'renamed': (renamed, ['missing: blocks.1.norm2.weight (near: blocks.1.norm_2.weight)',
                        'unexpected: blocks.1.norm_2.bias (near: blocks.1.norm2.bias)']),
  'another shape': (lambda s: s | {'norm.weight': s['norm.weight'][:5]}, ['shape: norm.weight is [5] and not [24]']),
  'too much': (lambda s: s | {f'blocks.0.ls{i}.gamma': s['norm.weight'] for i in range(12)},
               ['unexpected: blocks.0.ls0.gamma', 'and 2 more unexpected']),
  'no patches': (lambda s: {n.replace('patch_embed', 'embed'): v for n, v in s.items()},
                 ['has no patch_embed.proj.weight (near: embed.proj.weight)']),
  'one channel': (lambda s: s | {'patch_embed.proj.weight': s['patch_embed.proj.weight'][:, :1]},
                  ['is for 1 channels, and images here have 3', '--adapt_channels']),
  'no square': (lambda s: s | {'pos_embed': s['pos_embed'][:, :-1]},
                ['pos_embed has 8 patches, which is not a square']),
  'a stray block': (lambda s: s | {'blocks.99999.norm1.weight': s['norm.weight']},
                    ['unexpected: blocks.99999.norm1.weight', 'missing: blocks.2.norm1.weight']),
  'empty': (lambda s: s | {'patch_embed.proj.weight': np.zeros((24, 3, 0, 0), np.float32)},
            ['is empty, [24, 3, 0, 0]']),
  'no positions': (lambda s: s | {'pos_embed': s['pos_embed'][0]}, ['pos_embed has 2 axes and not 3']),
}


@pytest.mark.parametrize('change', CHANGES)
def test_arrays_that_do_not_fit_are_reported_and_nothing_is_written(change, tmp_path, capsys):
  change, messages = CHANGES[change]
  files.write_safetensors(tmp_path / 'w.safetensors', change(STATE), {})
  run(import_weights, 2, format='timm', input=tmp_path / 'w.safetensors', output=tmp_path / 'out', heads=3)
  error = capsys.readouterr().err
  assert all(message in error for message in messages), error
  assert error.startswith('maskrep: --input=') and not (tmp_path / 'out').exists()


def test_allowed_arrays_are_initialised(tmp_path, capsys):
  wrong = renamed(STATE) | {'norm.weight': STATE['norm.weight'][:5]}
  files.write_safetensors(tmp_path / 'w.safetensors', wrong, {})
  run(import_weights, format='timm', input=tmp_path / 'w.safetensors', output=tmp_path / 'out', heads=3,
      allow=r'blocks\.1\.norm_?2\..*|norm\.weight')
  output = capsys.readouterr().out
  assert all(part in output for part in (
    'by --allow, ', 'blocks.1.norm2.weight is new', 'blocks.1.norm_2.bias is left out'))
  certificate = json.loads((tmp_path / 'out' / 'parity.json').read_text())
  assert 'not the network of the file' in certificate['status'] and len(certificate['source']['changed']) == 5
  run(import_weights, format='safetensors', input=tmp_path / 'out' / 'encoder.safetensors', output=tmp_path / 'again')
  again = json.loads((tmp_path / 'again' / 'parity.json').read_text())
  assert again['source']['changed'] == certificate['source']['changed']
  arrays = native.load('', tmp_path / 'out').arrays
  np.testing.assert_array_equal(arrays['norm.scale'], np.ones(24))
  np.testing.assert_array_equal(arrays['block1.norm2.scale'], np.ones(24))
  np.testing.assert_array_equal(arrays['cls'], pretrained('vit', VIT).arrays['cls'])


@pytest.mark.parametrize('channels', [1, 4])
def test_channels_are_adapted_on_request(channels, tmp_path):
  """The output for equal channels stays the same, whatever their number."""
  filters = np.random.default_rng(0).normal(size=(24, channels, 4, 4)).astype(np.float32)
  files.write_safetensors(tmp_path / 'w.safetensors', STATE | {'patch_embed.proj.weight': filters}, {})
  run(import_weights, format='timm', input=tmp_path / 'w.safetensors', output=tmp_path / 'out', heads=3,
      adapt_channels=True)
  grey = np.random.default_rng(1).normal(size=(4, 4)).astype(np.float32)
  ours = native.load('', tmp_path / 'out').arrays['embed.kernel']
  np.testing.assert_allclose(np.repeat(grey[..., None], 3, -1).reshape(-1) @ ours, (filters * grey).sum((1, 2, 3)),
                             atol=1e-4)


def test_a_whole_name_must_match():
  with pytest.raises(ConfigError, match='missing: ab'):
    strict.check('x', {'ab': (1,)}, {}, 'a')
  assert strict.check('x', {'ab': (1,)}, {}, 'a.') == ['ab']
  with pytest.raises(ConfigError, match='--allow=[(]: is not a regular expression'):
    strict.check('x', {}, {}, '(')


FLAGS = {
  'no heads': ({}, '--heads'), 'heads that do not divide': ({'heads': 5}, '--heads=5: must divide the width, 24'),
  'no such file': ({'input': '/does/not/exist'}, '/does/not/exist: does not exist'),
  'a misspelt flag': ({'head': 3}, 'head'),
  'no such format': ({'format': 'tim'}, 'timm'), 'a folder': ({'input': '/'}, 'is not a supported kind of file'),
  'another format': ({'format': 'extrema', 'heads': 3}, 'has no state_dict.module.momentum_encoder.* but for example'),
  'channels that fit': ({'heads': 3, 'adapt_channels': True}, '--adapt_channels: the weights are for 3 channels'),
  'channels that always fit': ({'format': 'taming', 'adapt_channels': True}, '--adapt_channels: the weights are for 3'),
  'no such place': ({'heads': 3, 'output': '/proc/nope/out'}, '--output=/proc/nope/out: cannot be written'),
  'a place that is taken': ({'heads': 3, 'output': '/tmp'}, '--output=/tmp: exists already'),
}


@pytest.mark.parametrize('case', FLAGS)
def test_flags_are_answered_in_one_line(case, tmp_path, capsys):
  flags, expected = FLAGS[case]
  files.write_safetensors(tmp_path / 'w.safetensors', STATE, {})
  run(import_weights, 2, **{'format': 'timm', 'input': tmp_path / 'w.safetensors', 'output': tmp_path / 'out'} | flags)
  error = capsys.readouterr().err
  assert expected in error and error.count('\n') == 1, error


def test_heads_that_the_file_contradicts_are_refused(tmp_path, capsys):
  native.save(tmp_path, pretrained('vit', VIT))
  run(import_weights, 2, format='safetensors', input=tmp_path / 'encoder.safetensors', output=tmp_path / 'x', heads=4)
  assert '--heads=4: encoder.safetensors has 3; leave the flag out' in capsys.readouterr().err


def test_exports_that_cannot_be_are_refused(tmp_path, capsys):
  native.save(tmp_path / 'ours', pretrained('cait', CAIT))
  others = 'timm_cait, extrema, detectron2, safetensors, npz, saved_model, onnx'
  for flags, expected in (({'format': 'timm'}, f'is a cait; choose one of {others}'),
                      ({'format': 'npz'}, 'must end with .npz'), ({'format': 'detectron2'}, 'must end with .pkl'),
                      ({'format': 'timm_cait'}, 'must end with .safetensors'),
                      ({'format': 'extrema', 'what': 'full'}, 'holds only an encoder'),
                      ({'format': 'onnx'}, 'must end with .onnx'), ({'format': 'taming'}, 'is a cait')):
    run(export, 2, **{'workdir': tmp_path / 'ours', 'output': tmp_path / 'w.tar'} | flags)
    error = capsys.readouterr().err
    assert expected in error and error.count('\n') == 1, error


DESCRIPTION = {'kind': 'vit', 'config': VIT, 'preprocessing': None, 'source': {}}
HEADLESS = json.dumps(DESCRIPTION | {'config': VIT | {'heads': 0}})


@pytest.mark.parametrize('damage', [
  '{', '{"kind": "vit"}', '[' * 200_000, HEADLESS, json.dumps(DESCRIPTION | {'config': VIT | {'depth': 10**9}}),
  json.dumps(DESCRIPTION | {'preprocessing': {'size': 32}}), json.dumps(DESCRIPTION | {'preprocessing': []}),
  json.dumps(DESCRIPTION | {'source': []}), '{"kind": "x", "config": {}, "preprocessing": 0, "source": 0}'])
def test_a_damaged_import_is_named(damage, tmp_path):
  native.save(tmp_path, pretrained('vit', VIT))
  (tmp_path / 'encoder.json').write_text(damage)
  with pytest.raises(ConfigError, match='config.train.init_from: encoder.json') as error:
    native.load('config.train.init_from', tmp_path)
  assert len(str(error.value).splitlines()) == 1


def test_every_array_has_one_place_and_comes_back():
  ours = pretrained('vit', VIT).arrays
  state = timm_vit.to_foreign(ours, VIT)
  assert len(state) == len(ours) and all(value.flags.c_contiguous for value in state.values())
  back = timm_vit.from_foreign(state, VIT, ours)
  for name, value in ours.items():
    np.testing.assert_array_equal(back[name], value)
  assert names.without('a.', {'a.b': 1, 'b.a.': 2}) == {'b': 1}
  with pytest.raises(KeyError):
    timm_vit.to_foreign({'block0.scale1': ours['norm.scale']}, VIT)
  assert not [name for name in state if re.search('kernel|scale', name)]
