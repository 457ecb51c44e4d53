"""ResNet against torchvision's and timm's: features and running statistics, with random weights and statistics."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskrep.models.resnet import Block, ResNet
from maskrep.weights.formats.torchvision_resnet import to_foreign
from maskrep.weights.pretrained import flat

TINY = dict(depth=18, width=1 / 16, stem='small')


@functools.cache
def randomised(depth):
  """Weights of the scale of a network at work, and statistics that are not 0 and 1."""
  shapes = jax.eval_shape(ResNet(depth).init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
  rng = np.random.default_rng(depth)

  def leaf(path, s):
    name = path[-1].key
    if name == 'kernel':
      return rng.normal(0, (2 / np.prod(s.shape[:3])) ** 0.5, s.shape).astype(np.float32)
    low, high = {'scale': (0.5, 1.0), 'bias': (-0.3, 0.3), 'mean': (-0.5, 0.5), 'var': (0.7, 1.5)}[name]
    return rng.uniform(low, high, s.shape).astype(np.float32)

  return jax.tree_util.tree_map_with_path(leaf, shapes)


def images(side, b=5):
  return np.random.default_rng(side).normal(size=(b, side, side, 3)).astype(np.float32)


@functools.cache
def apply(depth):
  model = ResNet(depth)
  return jax.jit(lambda variables, x, train: model.apply(variables, x, train=train, mutable=['batch_stats']),
                 static_argnums=2)


def peer_of(library, depth):
  """A function (images, train) -> (feature map [B, h, w, D], state) of the peer with our weights."""
  import torch

  if library == 'timm':
    model = pytest.importorskip('timm').create_model(f'resnet{depth}')
    features = model.forward_features
  else:
    import torchvision

    model = getattr(torchvision.models, f'resnet{depth}')()
    features = torch.nn.Sequential(*list(model.children())[:-2])
  model.fc = torch.nn.Identity()
  variables = randomised(depth)
  state = to_foreign(flat(variables['params'], variables['batch_stats']), {})

  def run(x, train):
    model.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    model.train(train)
    with torch.no_grad():
      out = features(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
    return out.transpose(0, 2, 3, 1), {name: value.numpy() for name, value in model.state_dict().items()}

  return run


@pytest.mark.parametrize('library', ['torchvision', 'timm'])
@pytest.mark.parametrize('depth', [pytest.param(18, marks=pytest.mark.slow), 50])
def test_is_torchvisions(depth, library, torchvision):
  peer = peer_of(library, depth)
  for side in (64, 97) if (library, depth) == ('torchvision', 18) else (97,):
    for train in (False, True):
      want, state = peer(images(side), train)
      got, moved = apply(depth)(randomised(depth), images(side), train)
      assert got['patches'].shape == (5, want.shape[1] * want.shape[2], want.shape[3])
      off = np.abs(got['patches'].reshape(want.shape) - want).max() / np.abs(want).max()
      off_mean = np.abs(got['cls'] - want.mean((1, 2))).max() / np.abs(want.mean((1, 2))).max()
      statistics = to_foreign(flat(moved['batch_stats']), {})
      off_statistics = max(np.abs(v - state[name]).max() / np.abs(state[name]).max() for name, v in statistics.items())
      print(f'{library} {depth} side={side} {train=}: map {off:.1e}, mean {off_mean:.1e}, stats {off_statistics:.1e}')
      assert max(off, off_mean) < 1e-4 and off_statistics < (1e-4 if train else 1e-12)


@pytest.mark.parametrize(('depth', 'count'), [(18, 11.18), (34, 21.28), (50, 23.51), (101, 42.50), (200, 62.62)])
def test_sizes(depth, count):
  """In millions, as timm's without their classifiers."""
  shapes = jax.eval_shape(ResNet(depth).init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))['params']
  assert round(sum(x.size for x in jax.tree.leaves(shapes)) / 1e6, 2) == pytest.approx(count, abs=0.011)


def test_width_and_stem():
  out = lambda model, side: jax.eval_shape(  # noqa: E731
    lambda: model.init_with_output(jax.random.key(0), jnp.zeros((2, side, side, 3)))[0])
  assert out(ResNet(50, 2.0), 224)['patches'].shape == (2, 49, 4096)
  assert out(ResNet(18, 0.25, 'small'), 16)['patches'].shape == (2, 4, 128)
  assert out(ResNet(18, 0.25, 'small'), 28)['cls'].shape == (2, 128)


@pytest.mark.parametrize(('change', 'message'), [
  ({'depth': 51}, 'depth=51: must be one of 18, 34, 50, 101, 200'), ({'stem': 'big'}, 'one of imagenet, small'),
  ({'width': 0.3}, 'a whole number of channels'), ({'width': 0.0}, 'width=0.0: must be above 0')])
def test_refuses(change, message):
  with pytest.raises(ValueError, match=message):
    ResNet(**TINY | change)


def test_initial_scales_are_he_s():
  block = Block(128, 2, bottleneck=False)
  kernel = jax.jit(block.init)(jax.random.key(0), jnp.zeros((1, 4, 4, 64)))['params']['conv1']['kernel']
  assert np.std(kernel) == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)


@pytest.fixture(scope='module')
def tiny():
  """A model, its initial weights, and images."""
  model, x = ResNet(**TINY), jnp.asarray(images(16))
  return model, jax.jit(model.init)(jax.random.key(0), x), x


def test_zero_init_makes_blocks_the_identity(tiny):
  _, plain, x = tiny
  variables = jax.jit(ResNet(**TINY, zero_init_residual=True).init)(jax.random.key(0), x)
  scales = {name: float(block['bn2']['scale'].max()) for name, block in variables['params'].items() if '_' in name}
  assert len(scales) == 8 and set(scales.values()) == {0.0}
  assert all((block['bn2']['scale'] == 1).all() for name, block in plain['params'].items() if '_' in name)


def test_bfloat16_computes_near_and_keeps_float32(tiny):
  model, variables, x = tiny
  half = model.clone(dtype=jnp.bfloat16)
  assert all(a.dtype == jnp.float32 for a in jax.tree.leaves(jax.eval_shape(half.init, jax.random.key(0), x)))
  (want, _), (got, moved) = (
    jax.jit(lambda v, model=each: model.apply(v, x, train=True, mutable=['batch_stats']))(variables)
    for each in (model, half))
  assert all(a.dtype == jnp.float32 for a in jax.tree.leaves((got, moved)))
  off = np.abs(got['cls'] - want['cls']).max() / np.abs(want['cls']).max()
  assert 1e-5 < off < 0.1


def test_gradient_reaches_every_parameter_and_evaluation_mixes_no_examples(tiny):
  model, variables, x = tiny

  @jax.jit
  @jax.grad
  def gradient(params):
    out, _ = model.apply(variables | {'params': params}, x, train=True, mutable=['batch_stats'])
    return (out['cls'] ** 3).sum()

  assert all(np.abs(g).max() > 1e-9 for g in jax.tree.leaves(gradient(variables['params'])))
  whole, alone = (jax.jit(model.apply)(variables, a)['cls'] for a in (x, x[2:3]))
  np.testing.assert_allclose(whole[2:3], alone, atol=1e-5)
