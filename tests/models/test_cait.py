"""ExtreMA's encoder: class attention against timm's, and what each representation may depend on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskrep.models.cait import INSTANCE, CaiT
from maskrep.models.position import sincos
from maskrep.models.transformer import Block

TINY = dict(patch_size=4, width=24, depth=2, heads=3)


def randomised(module, *arguments):
  shapes = jax.eval_shape(module.init, jax.random.key(0), *arguments)
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda s: jnp.asarray(rng.normal(0, 0.2, s.shape), s.dtype), shapes)


@functools.cache
def jitted(model):
  return jax.jit(model.apply, static_argnames='part')


def images(b=2, side=20):
  return jnp.asarray(np.random.default_rng(1).normal(size=(b, side, side, 3)), jnp.float32)


def test_class_attention_is_timms(torchvision):
  cait = pytest.importorskip('timm').models.cait
  import torch

  x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 11, 24)), jnp.float32)
  block = Block(3, layer_scale=0.1)
  params = randomised(block, x)
  norm = lambda d, **_: torch.nn.LayerNorm(d, eps=1e-6)  # noqa: E731
  peer = cait.LayerScaleBlockClassAttn(24, 3, qkv_bias=True, norm_layer=norm).eval()
  p = jax.tree.map(lambda leaf: torch.from_numpy(np.array(leaf)), params['params'])
  state = {'gamma_1': p['scale1'], 'gamma_2': p['scale2']}
  for name in ('norm1', 'norm2'):
    state |= {f'{name}.weight': p[name]['scale'], f'{name}.bias': p[name]['bias']}
  for name, layer in (('attn.proj', p['attn']['proj']), ('mlp.fc1', p['mlp']['fc1']), ('mlp.fc2', p['mlp']['fc2'])):
    state |= {f'{name}.weight': layer['kernel'].T, f'{name}.bias': layer['bias']}
  for i, name in enumerate('qkv'):
    part = slice(24 * i, 24 * (i + 1))
    qkv = p['attn']['qkv']
    state |= {f'attn.{name}.weight': qkv['kernel'][:, part].T, f'attn.{name}.bias': qkv['bias'][part]}
  peer.load_state_dict(state)
  with torch.no_grad():
    want = peer(torch.from_numpy(np.array(x[:, 1:])), torch.from_numpy(np.array(x[:, :1])))
  np.testing.assert_allclose(jitted(block)(params, x, part=(0, 1)), want.numpy(), atol=2e-6)


def test_layer_scale_starts_at_its_value():
  params = jax.jit(Block(3, layer_scale=0.1).init)(jax.random.key(0), jnp.zeros((1, 2, 24)))['params']
  np.testing.assert_array_equal(params['scale1'], np.full(24, 0.1, np.float32))
  assert 'scale1' not in jax.eval_shape(Block(3).init, jax.random.key(0), jnp.zeros((1, 2, 24)))['params']


@pytest.mark.parametrize('instance', INSTANCE)
def test_any_grid_and_any_mask(instance):
  model = CaiT(**TINY, instance=instance)
  params = randomised(model, images())
  assert ('cls' in params['params']) == (instance != 'average')
  out = jitted(model)(params, images(side=12))
  assert out['cls'].shape == (2, 24) and out['patches'].shape == (2, 9, 24) and out['cls'].dtype == jnp.float32
  whole = jitted(model)(params, images())
  order = jnp.asarray(np.random.default_rng(0).permuted(np.tile(np.arange(25), (2, 1)), axis=1))
  shuffled = jitted(model)(params, images(), order)
  np.testing.assert_allclose(shuffled['cls'], whole['cls'], atol=1e-5)
  np.testing.assert_allclose(shuffled['patches'], jnp.take_along_axis(whole['patches'], order[..., None], 1), atol=1e-5)


def test_the_trunk_does_not_see_the_class_token():
  model = CaiT(**TINY)
  params = randomised(model, images())
  moved = jax.tree.map(lambda x: x, params)
  moved['params']['cls'] = moved['params']['cls'][..., ::-1]
  a, b = jitted(model)(params, images()), jitted(model)(moved, images())
  np.testing.assert_array_equal(a['patches'], b['patches'])
  assert np.abs(a['cls'] - b['cls']).max() > 1e-3


def test_dropped_pixels_change_nothing():
  model = CaiT(**TINY)
  params = randomised(model, images())
  keep_idx = jnp.asarray([[0, 3, 7], [1, 2, 24]])
  gradient = jax.jit(jax.grad(lambda x: model.apply(params, x, keep_idx)['cls'].sum()))(images())
  touched = np.abs(np.asarray(gradient)).reshape(2, 5, 4, 5, 4, 3).max((2, 4, 5)).reshape(2, 25) > 0
  assert [list(np.flatnonzero(row)) for row in touched] == keep_idx.tolist()


@pytest.mark.parametrize('options', [
  {'remat': True, 'scan': True}, *(pytest.param({name: True}, marks=pytest.mark.slow) for name in ('remat', 'scan'))],
  ids=str)
def test_remat_and_scan_change_nothing_but_the_cost(options):
  params = randomised(CaiT(**TINY), images())
  noise = {'keep': jnp.asarray([[[1, 0], [2, 1]], [[0, 1], [1, 2]]], jnp.float32)}

  def run(noise, **options):
    model = CaiT(**TINY, **options)
    return jax.jit(jax.value_and_grad(lambda p: model.apply(p, images(), None, noise)['cls'].std()))(params)

  expected, found = run(noise), run(noise, **options)
  assert abs(expected[0] - run(None)[0]) > 1e-4, 'branches are dropped'
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, expected)


def test_unknown_instance_is_refused():
  with pytest.raises(ValueError, match='must be one of class_attention'):
    CaiT(**TINY, instance='mean').init(jax.random.key(0), images())


def test_sincos_tells_every_place_apart_by_its_row_and_column():
  pos = sincos((3, 5), 16).reshape(3, 5, 16)
  np.testing.assert_allclose(pos[0, 0], [0] * 4 + [1] * 4 + [0] * 4 + [1] * 4)
  np.testing.assert_array_equal(pos[1, :, 8:], np.tile(pos[1, :1, 8:], (5, 1)))
  np.testing.assert_allclose(pos[2, 3, :4], np.sin(3 / 10_000 ** (np.arange(4) / 4)), rtol=1e-6)
  np.testing.assert_allclose(pos[2, 3, 12:], np.cos(2 / 10_000 ** (np.arange(4) / 4)), rtol=1e-6)
  with pytest.raises(ValueError, match='multiple of 4'):
    sincos((2, 2), 18)
