"""A network by itself: it is compiled once, kept with its preprocessing, and checked when it is built."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from maskrep.errors import ConfigError
from maskrep.models.encoder import Preprocessing
from maskrep.weights import native, parity
from maskrep.weights.formats import hf_vit_msn
from maskrep.weights.peers import PeerMissing
from maskrep.weights.pretrained import IMAGENET, described, digest, module
from tests.support.encoders import CAIT, RESNET, VIT, VQGAN, pretrained

SQUASHED = Preprocessing(size=12, crop_fraction=1.0, filter='bicubic', mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6),
                         squash=True, high_pass_sigma=2.5)


@pytest.fixture
def compilations():
  """A list with an entry per function that jax lowers for compilation."""
  lowered = []

  def listen(event, seconds, **_):
    if event.endswith('jaxpr_to_mlir_module_duration'):
      lowered.append(event)

  jax.monitoring.register_event_duration_secs_listener(listen)
  yield lowered
  jax.monitoring.unregister_event_duration_listener(listen)


def test_encode_compiles_once_per_network_and_shape(compilations):
  # A width that no other test has: what is compiled is shared by all networks of the same fields.
  ours = pretrained('vit', VIT | {'width': 27})
  images = np.random.default_rng(0).normal(size=(2, 12, 12, 3)).astype(np.float32)
  compilations.clear()
  first = ours.encode(images)
  assert compilations, 'the listener sees no compilation'
  compilations.clear()
  again = ours.encode(images)
  same = dataclasses.replace(ours, arrays={name: 2 * value for name, value in ours.arrays.items()}, source={'other': 1})
  other = same.encode(images)
  assert not compilations
  np.testing.assert_array_equal(again['cls'], first['cls'])
  assert np.abs(other['cls'] - first['cls']).max() > 0.1, 'the arrays are an argument, not a constant'
  ours.encode(images[:1])
  assert compilations


@pytest.mark.parametrize(('kind', 'config'), [('vit', VIT), ('cait', CAIT), ('resnet', RESNET), ('vqgan', VQGAN)])
def test_a_module_describes_itself(kind, config):
  assert described(module(kind, config)) == (kind, config)


@pytest.mark.parametrize(('kind', 'change', 'message'), [
  ('vit', {'heads': 0}, 'encoder.heads=0: must be at least 1'),
  ('vit', {'heads': 5}, 'encoder.heads=5: must divide width=24'),
  ('vit', {'hedas': 3}, 'did you mean encoder.heads'),
  ('cait', {'class_depth': 1001}, 'encoder.class_depth=1001: must be at most 1000'),
  ('resnet', {'depth': 19}, 'encoder.depth=19: must be one of'), ('vqgan', {'groups': 3}, 'tokenizer.multipliers='),
  ('vqgan', {'encoder_blocks': 10**9}, 'tokenizer.encoder_blocks=1000000000: must be at most 1000'),
  ('mlp', {}, "kind='mlp': must be one of vit, cait, resnet, vqgan")])
def test_fields_that_cannot_be_are_refused(kind, change, message):
  config = {'vit': VIT, 'cait': CAIT, 'resnet': RESNET, 'vqgan': VQGAN}.get(kind, {})
  with pytest.raises(ConfigError, match=message):
    module(kind, config | change)


@pytest.mark.parametrize('preprocessing', [None, SQUASHED, IMAGENET])
def test_preprocessing_is_kept(preprocessing, tmp_path):
  ours = dataclasses.replace(pretrained('vit', VIT), preprocessing=preprocessing)
  native.save(tmp_path, ours)
  assert native.load('', tmp_path).preprocessing == preprocessing

  def peer(side):
    raise PeerMissing('not here')

  parity.certify(ours, peer, tmp_path / 'encoder.safetensors', (12,))
  certificate = json.loads((tmp_path / 'parity.json').read_text())
  plain = preprocessing and json.loads(json.dumps(dataclasses.asdict(preprocessing)))
  assert certificate['preprocessing'] == plain and certificate['status'] == 'not verified: not here'


def test_descriptions_of_earlier_versions_are_read(tmp_path):
  """They left out `squash` and `high_pass_sigma` if these were off."""
  native.save(tmp_path, pretrained('vit', VIT))
  description = json.loads((tmp_path / 'encoder.json').read_text())
  earlier = {'size': 224, 'crop_fraction': 0.875, 'filter': 'bilinear', 'mean': [0.485, 0.456, 0.406],
             'std': [0.229, 0.224, 0.225]}
  for kept, expected in ((earlier, IMAGENET), (earlier | {'high_pass_sigma': 5.0, 'squash': True}, dataclasses.replace(
      IMAGENET, high_pass_sigma=5.0, squash=True))):
    (tmp_path / 'encoder.json').write_text(json.dumps(description | {'preprocessing': kept}))
    assert native.load('', tmp_path).preprocessing == expected


@pytest.mark.parametrize(('change', 'message'), [
  ({'crop_fraction': 0}, 'preprocessing.crop_fraction=0: must be in'), ({'mean': [0.5]}, 'preprocessing.mean='),
  ({'size': 32.5}, 'preprocessing.size=32.5: must be a whole number'), ({'sigma': 1.0}, 'preprocessing.sigma=1.0: ')])
def test_preprocessing_that_cannot_be_is_named_in_one_line(change, message, tmp_path):
  native.save(tmp_path, pretrained('vit', VIT))
  description = json.loads((tmp_path / 'encoder.json').read_text())
  description['preprocessing'] |= change
  (tmp_path / 'encoder.json').write_text(json.dumps(description))
  with pytest.raises(ConfigError, match=f'encoder.json, which describes .*{message}') as error:
    native.load('config.train.init_from', tmp_path)
  assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize('preprocessing', [
  dataclasses.replace(SQUASHED, high_pass_sigma=0.0), dataclasses.replace(IMAGENET, size=64, crop_fraction=0.5)])
def test_hugging_faces_processor_is_the_same_preprocessing(preprocessing):
  """A high-pass filter cannot be written."""
  processor = json.loads(json.dumps(hf_vit_msn._preprocessor_json(preprocessing)))
  assert hf_vit_msn._preprocessing('', processor) == preprocessing


@pytest.mark.parametrize(('change', 'message'), [
  ({'resample': 4}, r'KeyError: 4'), ({'image_mean': [0.5]}, r'preprocessing.mean=\(0.5,\): must be three numbers'),
  ({'size': {'shortest_edge': 16}}, 'preprocessing.crop_fraction=4.0: must be in'), ({'size': None}, 'AttributeError')])
def test_a_processor_that_cannot_be_used_is_named(change, message):
  processor = hf_vit_msn._preprocessor_json(dataclasses.replace(IMAGENET, size=64)) | change
  with pytest.raises(ConfigError, match=f'--input=x: its preprocessor_config.json cannot be used .{message}'):
    hf_vit_msn._preprocessing('--input=x', processor)


def test_the_digest_is_of_all_values():
  arrays = pretrained('vit', VIT).arrays
  first = digest(arrays)
  assert len(first) == 16 and int(first, 16) >= 0 and digest(dict(arrays)) == first
  for name in arrays:
    changed = np.array(arrays[name])
    changed.flat[-1] += 1e-3
    assert digest(arrays | {name: changed}) != first
  assert digest({'a': np.arange(6.0).reshape(2, 3).T}) == digest({'a': np.arange(6.0).reshape(2, 3).T.copy()})
