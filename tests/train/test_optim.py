"""The optimiser against AdamW written out in float64."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskrep.methods.rules import standard_rules
from maskrep.train.optim import Optim
from maskrep.types import Rule

RECIPE = dict(
  optimizer_kind='adamw',
  warmup_learning_rate=0.01, learning_rate=0.05, final_learning_rate=1e-3, warmup_epochs=1.0, schedule_stretch=1.25,
  weight_decay=0.04, final_weight_decay=0.4, beta1=0.9, beta2=0.999, clip_norm=3.0, ema_momentum=0.9,
  final_ema_momentum=1.0, ema_schedule='linear')


def params():
  rng = np.random.default_rng(0)
  shapes = {'encoder': {'dense': {'kernel': (3, 4), 'bias': (4,)}, 'norm': {'scale': (4,)}, 'pos': (5, 4)},
            'prototypes': (7, 4)}
  return jax.tree.map(lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32), shapes,
                      is_leaf=lambda shape: type(shape) is tuple)


def rules(p, scales=None):
  """As MSN's: the prototypes are neither clipped nor decayed."""
  found = standard_rules(p) | {'prototypes': Rule(decay=False, clip=False)}
  if scales is None:
    return found
  return jax.tree.map(lambda rule, scale: dataclasses.replace(rule, learning_rate_scale=scale), found, scales)


def decayed(p):
  return jax.tree.map(lambda rule: rule.decay, rules(p))


def test_what_is_decayed():
  assert decayed(params()) == {
    'encoder': {'dense': {'kernel': True, 'bias': False}, 'norm': {'scale': False}, 'pos': True}, 'prototypes': False}


def test_three_updates_are_adamw_with_clipping():
  values = Optim(**RECIPE).schedules(total_steps=8, warmup_steps=2)
  optimizer = Optim(**RECIPE).optimizer(values, rules(params()))
  p = params()
  state = optimizer.init(p)
  ours, theirs = p, jax.tree.map(lambda x: np.asarray(x, np.float64), p)
  first, second = (jax.tree.map(np.zeros_like, theirs) for _ in range(2))
  decays = decayed(p)
  for t in range(3):
    gradient = jax.tree.map(lambda x, t=t: jnp.sin(x * (t + 1)) * 4, ours)
    updates, state = optimizer.update(gradient, state, ours)
    ours = jax.tree.map(jnp.add, ours, updates)

    g = jax.tree.map(lambda x, t=t: np.sin(x * (t + 1)) * 4, theirs)
    norm = np.sqrt(sum((x**2).sum() for x in jax.tree.leaves(g['encoder'])))
    assert norm > 3  # clipping is at work
    g['encoder'] = jax.tree.map(lambda x, norm=norm: x * 3 / norm, g['encoder'])
    rate, decay = float(values['learning_rate'](t)), float(values['weight_decay'](t))
    first = jax.tree.map(lambda m, x: 0.9 * m + 0.1 * x, first, g)
    second = jax.tree.map(lambda v, x: 0.999 * v + 0.001 * x**2, second, g)
    theirs = jax.tree.map(
      lambda w, m, v, d, t=t, rate=rate, decay=decay: w - rate * (
        m / (1 - 0.9 ** (t + 1)) / (np.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8) + decay * d * w),
      theirs, first, second, decays)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), ours, theirs)


def test_sgd_is_heavy_ball_with_decoupled_decay():
  sgd = Optim(**RECIPE | {'optimizer_kind': 'sgd', 'clip_norm': 0.0})
  values = sgd.schedules(total_steps=8, warmup_steps=2)
  optimizer, p = sgd.optimizer(values, rules(params())), params()
  state, momentum = optimizer.init(p), 0.0
  kernel = np.asarray(p['encoder']['dense']['kernel'], np.float64)
  for t in range(3):
    gradient = jax.tree.map(jnp.cos, p)
    momentum = 0.9 * momentum + np.cos(kernel)
    kernel = kernel - float(values['learning_rate'](t)) * (momentum + float(values['weight_decay'](t)) * kernel)
    updates, state = optimizer.update(gradient, state, p)
    p = jax.tree.map(jnp.add, p, updates)
  np.testing.assert_allclose(p['encoder']['dense']['kernel'], kernel, rtol=1e-5)


def test_nesterov_looks_ahead():
  """Sutskever et al. 2013 in PyTorch's form: v = m v + g; w = w - rate * (g + m v + decay * w)."""
  nesterov = Optim(**RECIPE | {'optimizer_kind': 'nesterov', 'clip_norm': 0.0})
  values = nesterov.schedules(total_steps=8, warmup_steps=2)
  optimizer, p = nesterov.optimizer(values, rules(params())), params()
  state, velocity = optimizer.init(p), 0.0
  kernel = np.asarray(p['encoder']['dense']['kernel'], np.float64)
  for t in range(3):
    updates, state = optimizer.update(jax.tree.map(jnp.cos, p), state, p)
    p = jax.tree.map(jnp.add, p, updates)
    g = np.cos(kernel)
    velocity = 0.9 * velocity + g
    kernel = kernel - float(values['learning_rate'](t)) * (
      g + 0.9 * velocity + float(values['weight_decay'](t)) * kernel)
  np.testing.assert_allclose(p['encoder']['dense']['kernel'], kernel, rtol=1e-5)


@pytest.mark.parametrize('kind', ['adamw', 'sgd', 'nesterov', 'lars'])
def test_scales_multiply_updates_and_those_of_0_leave_no_trace(kind):
  """A frozen leaf has no update whatever its gradient is, no moments, and no part in the norm that is clipped."""
  optim = Optim(**RECIPE | {'optimizer_kind': kind, 'clip_norm': 0.1})
  values = optim.schedules(total_steps=8, warmup_steps=2)
  p = params()
  scales = jax.tree.map(lambda _: 1.0, p)
  scales['encoder']['dense'], scales['encoder']['pos'] = {'kernel': 0.25, 'bias': 0.5}, 0.0
  poisoned = p | {'encoder': p['encoder'] | {'pos': jnp.full_like(p['encoder']['pos'], jnp.nan)}}
  without = p | {'encoder': {name: leaf for name, leaf in p['encoder'].items() if name != 'pos'}}
  scaled, plain = optim.optimizer(values, rules(p, scales)), optim.optimizer(values, rules(without))
  states = scaled.init(p), plain.init(without)
  assert [x.shape for x in jax.tree.leaves(states[0])] == [x.shape for x in jax.tree.leaves(states[1])]
  for _ in range(2):
    got, state = scaled.update(poisoned, states[0], p)
    want, other = plain.update(without, states[1], without)
    states = state, other
  assert not got['encoder'].pop('pos').any()
  expected = want | {'encoder': want['encoder'] | {
    'dense': {name: want['encoder']['dense'][name] * factor for name, factor in (('kernel', 0.25), ('bias', 0.5))}}}
  jax.tree.map(np.testing.assert_array_equal, got, expected)


def test_lars_adapts_kernels_and_leaves_biases_and_norms():
  """You et al. 2017, arXiv:1708.03888: v = m v + rate * 0.001 |w| / |g + d w| * (g + d w); w = w - v."""
  lars = Optim(**RECIPE | {'optimizer_kind': 'lars', 'clip_norm': 0.0})
  values = lars.schedules(total_steps=8, warmup_steps=2)
  optimizer, p = lars.optimizer(values, rules(params())), params()
  state = optimizer.init(p)
  theirs = jax.tree.map(lambda x: np.asarray(x, np.float64), p)
  momentum, adapted = jax.tree.map(np.zeros_like, theirs), decayed(p)
  for t in range(3):
    updates, state = optimizer.update(jax.tree.map(jnp.cos, p), state, p)
    p = jax.tree.map(jnp.add, p, updates)
    rate, decay = float(values['learning_rate'](t)), float(values['weight_decay'](t))

    def velocity(w, v, adapt, rate=rate, decay=decay):
      g = np.cos(w)
      if adapt:
        g = g + decay * w
        g = g * 0.001 * np.linalg.norm(w) / np.linalg.norm(g)
      return 0.9 * v + rate * g

    momentum = jax.tree.map(velocity, theirs, momentum, adapted)
    theirs = jax.tree.map(np.subtract, theirs, momentum)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), p, theirs)
  moved = jax.tree.map(lambda v: np.abs(v).max(), momentum)
  assert moved['encoder']['dense']['bias'] > 100 * moved['encoder']['dense']['kernel'] > 0


def test_schedules_are_stretched_but_not_the_warmup():
  values = Optim(**RECIPE).schedules(total_steps=80, warmup_steps=20)
  np.testing.assert_allclose(values['learning_rate'](20), 0.05, rtol=1e-6)
  np.testing.assert_allclose(values['ema_momentum'](80), 0.9 + 0.1 * 80 / 100, rtol=1e-6)
  np.testing.assert_allclose(values['weight_decay'](100), 0.4, rtol=1e-6)
  np.testing.assert_allclose(values['learning_rate'](100), 1e-3, rtol=1e-5)


def test_drops_are_of_the_run_and_exclude_a_warmup():
  drops = {'drops': (0.6, 0.8), 'drop_factor': 0.2, 'warmup_epochs': 0.0, 'schedule_stretch': 1.0}
  rate = Optim(**RECIPE | drops).schedules(total_steps=20, warmup_steps=0)['learning_rate']
  at = RECIPE['learning_rate']
  np.testing.assert_allclose([rate(step) for step in (0, 11, 12, 15, 16, 19)],
                             [at, at, 0.2 * at, 0.2 * at, 0.04 * at, 0.04 * at], rtol=1e-5)
  for change in ({'warmup_epochs': 1.0}, {'schedule_stretch': 1.25}, {'drop_factor': 1.0}):
    with pytest.raises(ValueError, match=r'drops=\(0.6, 0.8\): needs a drop_factor'):
      Optim(**RECIPE | drops | change)


def test_ema_momentum_may_follow_a_cosine():
  momentum = Optim(**RECIPE | {'ema_schedule': 'cosine'}).schedules(total_steps=80, warmup_steps=20)['ema_momentum']
  np.testing.assert_allclose(momentum(25), 1 - 0.1 * (1 + np.cos(np.pi / 4)) / 2, rtol=1e-6)


@pytest.mark.parametrize(('field', 'value'), [
  ('beta1', 1.5), ('learning_rate', float('nan')), ('clip_norm', -1.0), ('schedule_stretch', 0.5),
  ('ema_momentum', -0.1), ('ema_schedule', 'sine'), ('optimizer_kind', 'adam')])
def test_out_of_range(field, value):
  with pytest.raises(ValueError, match=field):
    Optim(**(RECIPE | {field: value}))
