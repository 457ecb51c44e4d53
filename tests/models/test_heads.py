import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskrep.models.heads import ProjectionHead

HEAD = ProjectionHead(hidden=11, output=7, layers=3)


def batch(b=13, d=5):
  return np.random.default_rng(b).normal(1, 2, (b, d)).astype(np.float32)


def randomised():
  shapes = jax.eval_shape(HEAD.init, jax.random.key(0), batch())
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda s: jnp.asarray(rng.uniform(0.2, 1.5, s.shape), s.dtype), shapes)


@pytest.fixture(scope='module')
def peer():
  torch = pytest.importorskip('torch')
  nn = torch.nn
  layers = [nn.Linear(5, 11), nn.BatchNorm1d(11), nn.GELU(), nn.Linear(11, 11), nn.BatchNorm1d(11), nn.GELU()]
  model = nn.Sequential(*layers, nn.Linear(11, 7))
  variables = randomised()
  params, stats = variables['params'], variables['batch_stats']
  state = {}
  for at, name in [(0, 'fc1'), (3, 'fc2'), (6, 'fc3')]:
    state |= {f'{at}.weight': params[name]['kernel'].T, f'{at}.bias': params[name]['bias']}
  for at, name in [(1, 'bn1'), (4, 'bn2')]:
    state |= {f'{at}.weight': params[name]['scale'], f'{at}.bias': params[name]['bias']}
    state |= {f'{at}.running_mean': stats[name]['mean'], f'{at}.running_var': stats[name]['var']}
  model.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in state.items()}, strict=False)
  return torch, model, variables


def test_is_pytorchs_in_training_and_after_it(peer):
  torch, model, variables = peer
  model.train()
  for b in (13, 6):
    want = model(torch.from_numpy(batch(b)))
    got, moved = HEAD.apply(variables, batch(b), train=True, mutable='batch_stats')
    variables = variables | moved
    np.testing.assert_allclose(got, want.detach(), atol=1e-4, rtol=1e-5)
    for at, name in [(1, 'bn1'), (4, 'bn2')]:
      np.testing.assert_allclose(moved['batch_stats'][name]['mean'], model[at].running_mean, rtol=1e-5)
      np.testing.assert_allclose(moved['batch_stats'][name]['var'], model[at].running_var, rtol=1e-5)
  want = model.eval()(torch.from_numpy(batch(9)))
  np.testing.assert_allclose(HEAD.apply(variables, batch(9)), want.detach(), atol=1e-4, rtol=1e-5)


def test_gradient_is_pytorchs(peer):
  torch, model, variables = peer
  x = torch.from_numpy(batch()).requires_grad_()
  (model.train()(x) ** 2).sum().backward()

  @jax.jit
  @jax.grad
  def gradient(x):
    return (HEAD.apply(variables, x, train=True, mutable='batch_stats')[0] ** 2).sum()

  np.testing.assert_allclose(gradient(batch()), x.grad, rtol=1e-3, atol=1e-3)


def test_initialising_leaves_the_statistics_alone():
  stats = HEAD.init(jax.random.key(0), batch(), train=True)['batch_stats']
  assert all((s['mean'] == 0).all() and (s['var'] == 1).all() for s in stats.values())


def test_statistics_are_float32_in_bfloat16():
  variables = randomised()
  want = HEAD.apply(variables, batch(), train=True, mutable='batch_stats')
  half = ProjectionHead(11, 7, 3, dtype=jnp.bfloat16)
  got = half.apply(variables, batch(), train=True, mutable='batch_stats')
  assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(got))
  np.testing.assert_allclose(got[0], want[0], atol=0.05 * float(jnp.abs(want[0]).max()))
