import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskrep import rng
from maskrep.models.attention import Attention
from maskrep.models.norm import layer_norm
from maskrep.models.transformer import Block, dropout, gelu, stochastic_depth
from maskrep.models.vit import ViT, patchify

TINY = dict(patch_size=4, width=24, depth=2, heads=3, image_size=20)


def randomised(model, key=0):
  """Parameters without the zeros and ones of an initialisation, which hide faults."""
  images = jax.ShapeDtypeStruct((1, model.image_size, model.image_size, 3), jnp.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), images)
  random = np.random.default_rng(key)
  return jax.tree.map(lambda s: jnp.asarray(random.normal(0, 0.2, s.shape), s.dtype), shapes)


@pytest.fixture(scope='module')
def tiny():
  model = ViT(**TINY)
  params = randomised(model)
  return model, params, jax.jit(functools.partial(model.apply, params))


def images(b=2, h=20, w=20):
  return jnp.asarray(np.random.default_rng(1).normal(size=(b, h, w, 3)), jnp.float32)


def assert_close(got, want, atol=2e-6):
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=atol), got, want)


def test_patchify_cuts_row_by_row():
  x = jnp.arange(2 * 6 * 9 * 3).reshape(2, 6, 9, 3)
  patches = patchify(x, 3)
  assert patches.shape == (2, 6, 27)
  np.testing.assert_array_equal(patches[1, 4].reshape(3, 3, 3), x[1, 3:6, 3:6])


@pytest.mark.parametrize('size', [(20, 18), (22, 20)])
def test_refuses_a_size_that_is_no_multiple(tiny, size):
  model, params, _ = tiny
  with pytest.raises(ValueError, match=f'{size[0]}x{size[1]} is not a multiple of patch size 4'):
    model.apply(params, images(1, *size))


@pytest.mark.parametrize('size', [(20, 20), (12, 28), (8, 8)])
def test_any_grid_gives_float32_of_its_shape(tiny, size):
  out = tiny[2](images(2, *size))
  assert out['cls'].shape == (2, 24) and out['patches'].shape == (2, size[0] * size[1] // 16, 24)
  assert out['cls'].dtype == out['patches'].dtype == jnp.float32


def test_jit_equals_eager():
  model = ViT(**TINY | {'depth': 1})
  params = randomised(model)
  idx = jnp.array([[3, 0, 24], [7, 7, 1]])
  assert_close(jax.jit(model.apply)(params, images(), idx), model.apply(params, images(), idx))


@pytest.mark.parametrize('size', [(20, 20), (12, 28)])
def test_keeping_all_equals_no_mask(tiny, size):
  n = size[0] * size[1] // 16
  keep_all = jnp.broadcast_to(jnp.arange(n), (2, n))
  assert_close(tiny[2](images(2, *size), keep_all), tiny[2](images(2, *size)))


def test_permuting_keep_idx_permutes_patches_only(tiny):
  keep = jnp.array([[24, 3, 11, 0, 8], [1, 2, 20, 19, 5]])
  order = jnp.array([3, 1, 4, 0, 2])
  want, got = tiny[2](images(), keep), tiny[2](images(), keep[:, order])
  assert_close(got, {'cls': want['cls'], 'patches': want['patches'][:, order]})


def test_dropped_patches_are_not_seen(tiny):
  keep = jnp.array([[24, 3, 11], [1, 2, 20]])
  grad = jax.jit(jax.grad(lambda x: tiny[2](x, keep)['cls'].sum()))(images())
  seen = np.abs(patchify(grad, 4)).sum(-1) > 0
  want = np.zeros((2, 25), bool)
  np.put_along_axis(want, np.asarray(keep), True, 1)
  np.testing.assert_array_equal(seen, want)


def test_every_parameter_gets_a_gradient(tiny):
  model, params, _ = tiny
  grad = jax.jit(jax.grad(lambda p: (model.apply(p, images())['cls'] ** 3).sum()))(params)
  flat = jax.tree_util.tree_leaves_with_path(grad)
  assert not [jax.tree_util.keystr(path) for path, g in flat if not np.abs(g).max() > 0]


def test_bfloat16_is_near_float32(tiny):
  model, params, encode = tiny
  half = jax.jit(ViT(**TINY, dtype=jnp.bfloat16).apply)(params, images())
  assert half['cls'].dtype == jnp.float32
  error = jax.tree.map(lambda a, b: float(jnp.abs(a - b).mean() / b.std()), half, encode(images()))
  assert max(error.values()) < 0.03, error


def test_parameters_are_float32_and_initialised_as_the_papers_do():
  model = ViT(16, 96, 1, 3, image_size=64, dtype=jnp.bfloat16)
  params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    name = path[-1].key
    assert leaf.dtype == jnp.float32
    if name in ('bias', 'scale'):
      np.testing.assert_array_equal(leaf, float(name == 'scale'))
    else:
      np.testing.assert_allclose(leaf.std(), 0.02, rtol=0.2)


@pytest.mark.parametrize(('patch_size', 'width', 'depth', 'heads', 'millions'), [
  (16, 384, 12, 6, 21.3), (8, 768, 12, 12, 85.1), (4, 768, 12, 12, 85.1), (7, 1024, 24, 16, 302.3),
  (14, 1280, 32, 16, 629.6),
])  # fmt: skip
def test_shapes_and_sizes_of_the_papers_models(patch_size, width, depth, heads, millions):
  model = ViT(patch_size, width, depth, heads)
  view = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
  n = (224 // patch_size) ** 2
  out, params = jax.eval_shape(model.init_with_output, jax.random.key(0), view)
  assert out['patches'].shape == (2, n, width)
  # All but what depends on the patch size: the embedding kernel and the positions.
  count = sum(x.size for x in jax.tree.leaves(params)) - (3 * patch_size**2 + n + 1) * width
  assert abs(count / 1e6 - millions) < 0.1


def test_stochastic_depth_grows_linearly_and_keeps_the_mean():
  factors = stochastic_depth(jax.random.key(0), 0.6, 3, 4000)
  assert factors.shape == (4000, 3, 2) and factors.dtype == jnp.float32
  factors = factors.transpose(1, 2, 0)
  for block, rate in enumerate([0, 0.3, 0.6]):
    np.testing.assert_allclose((factors[block] == 0).mean(1), rate, atol=0.03)
    np.testing.assert_allclose(factors[block].max(), 1 / (1 - rate), rtol=1e-6)
    np.testing.assert_allclose(factors[block].mean(1), 1, atol=0.06)
  assert (factors[2, 0] != factors[2, 1]).any() and (factors[1, 0] != factors[2, 0]).any()


def test_dropping_both_branches_of_a_block_leaves_the_example_as_it_was():
  x = images(2, 4, 24)[..., 0]
  block = Block(heads=3)
  y, params = jax.jit(block.init_with_output)(jax.random.key(0), x)
  dropped = jax.jit(block.apply)(params, x, keep=jnp.array([[0.0, 1.0], [0.0, 1.0]]))
  np.testing.assert_array_equal(dropped[0], x[0])
  assert_close(dropped[1], y[1])


def test_stochastic_depth_acts_where_branches_are_drawn(tiny):
  _, params, encode = tiny
  model = ViT(**TINY, drop_path=0.6)
  apply = jax.jit(model.apply)
  assert_close(apply(params, images()), encode(images()))
  one, two = (apply(params, images(), noise=model.draw_noise(jax.random.key(i), 2))['cls'] for i in range(2))
  assert (one != two).any()
  assert ViT(**TINY).draw_noise(jax.random.key(0), 2) is None


def test_dropout_drops_its_share_of_each_example_and_keeps_the_mean():
  keys = jax.random.split(jax.random.key(0), 6)
  dropped = np.asarray(dropout(keys, jnp.ones((6, 40, 50)), 0.25))
  assert set(np.unique(dropped)) == {0, np.float32(4 / 3)}
  np.testing.assert_allclose((dropped == 0).mean((1, 2)), 0.25, atol=0.04)
  assert len(np.unique(dropped.reshape(6, -1), axis=0)) == 6
  np.testing.assert_array_equal(dropped[2:4], dropout(keys[2:4], jnp.ones((2, 40, 50)), 0.25))


def test_dropout_of_a_block_is_of_both_branches_and_of_the_hidden_units():
  x, keys, block = images(2, 4, 24)[..., 0], jax.random.split(jax.random.key(0), 2), Block(heads=3, dropout=0.5)
  shapes = jax.eval_shape(block.init, jax.random.key(0), x)['params']
  p = jax.tree.map(lambda s: jnp.asarray(np.random.default_rng(2).normal(0, 0.3, s.shape), s.dtype), shapes)
  drop = lambda i, x: dropout(rng.fold(keys, i), x, 0.5)  # noqa: E731
  norm = lambda name, x: layer_norm(jnp.float32, None).apply({'params': p[name]}, x)  # noqa: E731
  y = x + drop(0, Attention(heads=3).apply({'params': p['attn']}, norm('norm1', x)))
  hidden = drop(1, gelu(norm('norm2', y) @ p['mlp']['fc1']['kernel'] + p['mlp']['fc1']['bias']))
  y += drop(2, hidden @ p['mlp']['fc2']['kernel'] + p['mlp']['fc2']['bias'])
  assert_close(jax.jit(block.apply)({'params': p}, x, keys=keys), y, atol=1e-5)


def test_dropout_is_also_of_the_input(tiny):
  model = ViT(**TINY, dropout=0.5)
  silent = jax.tree_util.tree_map_with_path(
    lambda path, leaf: leaf * ('block' not in jax.tree_util.keystr(path)), tiny[1])
  noise = model.draw_noise(jax.random.key(0), 2)
  assert {name: value.shape for name, value in noise.items()} == {'keys': (2, TINY['depth'])}
  dropped, whole = (jax.jit(model.apply)(silent, images(), noise=n)['patches'] for n in (noise, None))
  assert (np.abs(dropped - whole) > 1e-3).mean() > 0.3


def test_what_is_not_read_is_not_computed():
  model = ViT(**TINY)
  params = jax.eval_shape(model.init, jax.random.key(0), images())

  def flops(*read):
    loss = jax.grad(lambda p, x: sum(model.apply(p, x)[name].sum() for name in read))
    return jax.jit(loss).lower(params, images()).compile().cost_analysis()['flops']

  assert flops('cls') < 0.8 * flops('cls', 'patches')


@pytest.mark.parametrize('options', [
  {'remat': True, 'scan': True}, *(pytest.param({name: True}, marks=pytest.mark.slow) for name in ('remat', 'scan'))],
  ids=str)
def test_remat_and_scan_change_nothing_but_the_cost(options):
  model = ViT(**TINY | {'depth': 3, 'drop_path': 0.3, 'dropout': 0.2})
  params = randomised(model)
  keep_idx = jnp.asarray([[0, 3, 7], [1, 2, 24]])
  noise = model.draw_noise(jax.random.key(0), 2)

  def run(model):
    def total(params, images):
      out = model.apply(params, images, keep_idx, noise)
      return sum((value * jnp.cos(value)).sum() for value in out.values())

    traced = jax.jit(jax.value_and_grad(total)).trace(params, images())
    return str(traced.jaxpr), traced.lower().compile()(params, images())

  other = ViT(**TINY | {'depth': 3, 'drop_path': 0.3, 'dropout': 0.2} | options)
  assert jax.tree.structure(randomised(other)) == jax.tree.structure(params)
  (text, found), (_, expected) = run(other), run(model)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, expected)
  assert ('scan[' in text, 'checkpoint[' in text or 'remat' in text) == (
    options.get('scan', False), options.get('remat', False))
