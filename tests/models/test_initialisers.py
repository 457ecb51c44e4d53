"""Initial weights: the deviations and bounds of the authors' code, written out for the shapes of PyTorch."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskrep.models.cait import CaiT
from maskrep.models.heads import MLPHead
from maskrep.models.vit import ViT

WIDTH, PATCH = 64, 16
SIZES = dict(patch_size=PATCH, width=WIDTH, depth=1, heads=2, image_size=32)


def initial(module, x):
  return module.init(jax.random.key(0), x)['params']


def uniform(kernel, fan_in: int, fan_out: int) -> None:
  """Checks that a kernel is xavier_uniform_ of a layer with these fans."""
  bound = math.sqrt(6 / (fan_in + fan_out))
  assert np.abs(kernel).max() == pytest.approx(bound, rel=0.02) and np.abs(kernel).max() <= bound
  assert np.std(kernel) == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_msns_patch_embedding_is_kaimings_and_the_rest_has_a_deviation_of_002():
  params = initial(ViT(**SIZES, weight_init='kaiming_patches'), jnp.zeros((1, 32, 32, 3)))
  assert np.std(params['embed']['kernel']) == pytest.approx(math.sqrt(2 / (3 * PATCH**2)), rel=0.02)  # 0.051
  for layer in (params['block0']['attn']['qkv'], params['block0']['mlp']['fc1']):
    assert np.std(layer['kernel']) == pytest.approx(0.02, rel=0.05)
  assert np.std(params['pos']) == pytest.approx(0.02, rel=0.1) and not params['embed']['bias'].any()


def test_extremas_matrices_are_xaviers():
  params = initial(CaiT(**SIZES, weight_init='xavier'), jnp.zeros((1, 32, 32, 3)))
  uniform(params['embed']['kernel'], 3 * PATCH**2, WIDTH)
  uniform(params['block0']['attn']['qkv']['kernel'], WIDTH, 3 * WIDTH)  # one layer in the trunk
  uniform(params['block0']['mlp']['fc1']['kernel'], WIDTH, 4 * WIDTH)
  query, key, value = np.split(np.asarray(params['class_block0']['attn']['qkv']['kernel']), 3, axis=1)
  for kernel in (query, key, value):  # three in class attention
    uniform(kernel, WIDTH, WIDTH)
  assert np.abs(query - key).max() > 0.1, 'each is drawn by itself'
  assert np.std(params['cls']) == pytest.approx(0.02, rel=0.3)


def test_extremas_heads_are_xaviers_with_the_layer_norm_of_pytorch():
  head = MLPHead(hidden=32, output=16, layers=2)
  x = jnp.asarray(np.random.default_rng(0).normal(0, 1e-2, (5, 64)), jnp.float32)
  params = initial(head, x)
  uniform(params['fc1']['kernel'], 64, 32)
  hidden = np.asarray(x, np.float64) @ np.asarray(params['fc1']['kernel'], np.float64)
  normed = (hidden - hidden.mean(1, keepdims=True)) / np.sqrt(hidden.var(1, keepdims=True) + 1e-5)
  want = np.asarray(jax.nn.gelu(normed, approximate=False)) @ np.asarray(params['fc2']['kernel'])
  np.testing.assert_allclose(head.apply({'params': params}, x), want, rtol=1e-4, atol=1e-5)
