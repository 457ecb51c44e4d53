"""How fast each part of an encoder is trained under a classifier, and what a probe takes from it."""

import dataclasses

from flax.traverse_util import flatten_dict
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from maskrep.models.encoder import represent
from maskrep.models.heads import MLPHead
from tests.methods.test_classify import CAIT, RESNET, VIT


def scales_of(classify):
  rules = classify.rules(jax.eval_shape(classify.init, jax.random.key(0))[0])
  return flatten_dict(jax.tree.map(lambda rule: rule.learning_rate_scale, rules))


def test_layer_decay_by_hand():
  """A half, so that each layer has its own power: layer i of L, from 1, has L + 1 - i; what is before them L + 1."""
  vit, cait = (
    {'.'.join(path[:2]): scale for path, scale in scales_of(classify).items()}
    for classify in (dataclasses.replace(each, trained='all', layer_decay=0.5) for each in (VIT, CAIT)))
  assert vit == {
    'encoder.cls': 0.125, 'encoder.pos': 0.125, 'encoder.embed': 0.125, 'encoder.block0': 0.25, 'encoder.block1': 0.5,
    'encoder.norm': 1.0, 'classifier.dense': 1.0}
  assert cait == {
    'encoder.cls': 1 / 32, 'encoder.embed': 1 / 32, 'encoder.block0': 1 / 16, 'encoder.block1': 1 / 8,
    'encoder.class_block0': 1 / 4, 'encoder.class_block1': 1 / 2, 'encoder.norm': 1.0, 'classifier.dense': 1.0}


def test_a_trained_layer_norm_takes_the_class_token_before_the_final_norm():
  probe = dataclasses.replace(VIT, final_norm=False, input_norm='layer_l2')
  params, _ = jax.jit(probe.init)(jax.random.key(0))
  assert set(params) == {'encoder', 'classifier', 'input_norm'}
  scales = {path[0]: scale for path, scale in scales_of(probe).items()}
  assert scales == {'encoder': 0, 'classifier': 1, 'input_norm': 1}
  params['input_norm'] = {'scale': jnp.full(16, 2.0), 'bias': jnp.arange(16.0) / 16}
  images = jax.random.normal(jax.random.key(1), (3, 8, 8, 3))
  raw, found = jax.jit(lambda p: (
    represent(probe.encoder, {'params': p['encoder']}, images, pooling='class_token', layers=1, final_norm=False),
    probe.encode(p, {}, images)['cls']))(params)
  raw = np.asarray(raw, np.float64)
  want = 2 * (raw - raw.mean(1, keepdims=True)) / np.sqrt(raw.var(1, keepdims=True) + 1e-6) + np.arange(16) / 16
  np.testing.assert_allclose(found, want / np.linalg.norm(want, axis=1, keepdims=True), atol=1e-5)
  with pytest.raises(ValueError, match="final_norm=False: is for trained='head'"):
    dataclasses.replace(VIT, final_norm=False, trained='all')


def test_class_attention_is_no_layer_of_averaged_patches():
  """Nor is what it alone reads trained: weight decay would move it."""
  average = dataclasses.replace(CAIT, trained='all', layer_decay=0.5, pooling='average')
  assert {'.'.join(path[:2]): scale for path, scale in scales_of(average).items()} == {
    'encoder.cls': 0, 'encoder.embed': 1 / 8, 'encoder.block0': 1 / 4, 'encoder.block1': 1 / 2,
    'encoder.class_block0': 0, 'encoder.class_block1': 0, 'encoder.norm': 1.0, 'classifier.dense': 1.0}


def test_the_encoder_learns_at_a_rate_of_its_own_and_tokens_do_not_decay():
  slow = dataclasses.replace(VIT, trained='all', encoder_rate=0.004)
  assert {(path[0], scale) for path, scale in scales_of(slow).items()} == {('encoder', 0.004), ('classifier', 1.0)}
  rules = slow.rules(jax.eval_shape(slow.init, jax.random.key(0))[0])['encoder']
  assert not rules['cls'].decay and not rules['pos'].decay and rules['block0']['attn']['qkv']['kernel'].decay


def test_the_last_block_of_a_resnet_has_no_norm_after_it():
  last = dataclasses.replace(RESNET, trained='last_block')
  assert {path[1] for path, scale in scales_of(last).items() if scale} == {'layer4_1', 'dense'}


def test_the_classifier_is_on_the_first_layer_of_the_projector():
  """By hand, with its norm and GELU; it learns and decays as the classifier does."""
  head = MLPHead(hidden=12, output=8, layers=3)
  semi = dataclasses.replace(CAIT, trained='all', layer_decay=0.5, projector=head)
  params, _ = jax.jit(semi.init)(jax.random.key(0))
  assert {'.'.join(path[:2]): scale for path, scale in scales_of(semi).items() if path[0] != 'encoder'} == {
    'projector.fc1': 1, 'projector.norm1': 1, 'classifier.dense': 1}
  rules = semi.rules(params)['projector']
  assert rules['fc1']['kernel'].decay and not rules['norm1']['scale'].decay
  images = jax.random.normal(jax.random.key(1), (3, 8, 8, 3))
  x, found = jax.jit(lambda p: (
    CAIT.encoder.apply({'params': p['encoder']}, images)['cls'], semi.encode(p, {}, images)['cls']))(params)
  fc, norm = ({name: np.asarray(leaf, np.float64) for name, leaf in params['projector'][part].items()}
              for part in ('fc1', 'norm1'))
  x = np.asarray(x, np.float64) @ fc['kernel'] + fc['bias']
  x = norm['scale'] * (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5) + norm['bias']
  np.testing.assert_allclose(found, x / 2 * (1 + scipy.special.erf(x / 2**0.5)), atol=1e-5)
  with pytest.raises(ValueError, match="projector: is for trained='all'"):
    dataclasses.replace(semi, layer_decay=1.0, trained='head')
