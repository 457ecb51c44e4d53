"""One step: the teacher follows the updated student, keys follow the step, the same step twice is the same bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskrep.configs import msn_vitb16
from maskrep.train.step import init_state, make_step
from tests.support.stored import opened
from tests.support.tiny import shrink


@pytest.fixture(scope='module')
def made():
  objective, optimizer, rules, values, batches = parts()
  step = jax.jit(make_step(objective, optimizer, values['ema_momentum'], 0, rules))
  return step, jax.jit(lambda: init_state(objective.init, optimizer, seed=0))(), batches, values


def parts():
  """Objective, optimiser, rules, schedules, and two batches, of a tiny MSN."""
  found = opened(shrink(msn_vitb16.get_config()))
  objective, optim = found.experiment.objective, found.experiment.optim
  values = optim.schedules(total_steps=4, warmup_steps=1)
  rules = objective.rules(jax.eval_shape(objective.init, jax.random.key(0))[0])
  batches = [{k: v for k, v in found.loader[t].items() if k != 'broken'} for t in range(2)]
  return objective, optim.optimizer(values, rules), rules, values, batches


def test_teacher_is_the_recurrence_on_updated_parameters(made):
  step, state, batches, values = made
  expected = jax.tree.map(np.asarray, state.ema_params)
  for t, batch in enumerate(batches):
    state, _ = step(state, batch)
    m = float(values['ema_momentum'](t))
    expected = jax.tree.map(lambda e, p, m=m: m * e + (1 - m) * np.asarray(p), expected, state.params)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), state.ema_params, expected)
  moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), state.ema_params, state.params)
  assert max(jax.tree.leaves(moved)) > 1e-4
  assert int(state.step) == 2


def test_a_frozen_encoder_keeps_every_bit_and_gathers_moments(made):
  """Weight decay and EMA would move it, too; the moments are those that it would have had."""
  objective, optimizer, rules, values, batches = parts()
  free, first, *_ = made
  frozen = jax.jit(make_step(objective, optimizer, values['ema_momentum'], 0, rules, freeze_encoder_steps=2))
  state = first
  for batch in batches:
    expected, (state, _) = free(state, batch)[0], frozen(state, batch)
    for tree, before in ((state.params, first.params), (state.ema_params, first.ema_params)):
      jax.tree.map(np.testing.assert_array_equal, tree['encoder'], before['encoder'])
    jax.tree.map(np.testing.assert_array_equal, state.params['head'], expected.params['head'])
    jax.tree.map(np.testing.assert_array_equal, state.opt_state, expected.opt_state)
  state, _ = frozen(state, batch)
  moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), state.params['encoder'], first.params['encoder'])
  rate = float(values['learning_rate'](2))
  assert min(jax.tree.leaves(moved)) > 0
  assert max(jax.tree.leaves(moved)) < 2 * rate, 'from moments of zero it would be about three times the learning rate'


def test_every_parameter_moves(made):
  step, state, batches, _ = made
  after, _ = step(state, batches[0])
  before = jax.tree_util.tree_leaves_with_path(state.params)
  still = [path for (path, a), b in zip(before, jax.tree.leaves(after.params), strict=True) if (a == b).all()]
  assert not still
  jax.tree.map(lambda a, b: np.testing.assert_(np.abs(a - b).max() > 0), state.model_state, after.model_state)


def test_same_bits_twice_and_other_bits_elsewhere_in_the_stream(made):
  step, state, batches, _ = made
  first, metrics = step(state, batches[0])
  again, metrics_again = step(state, batches[0])
  jax.tree.map(np.testing.assert_array_equal, first, again)
  moved, other = step(state, batches[0] | {'position': batches[0]['position'] + 8})
  assert metrics['loss'] == metrics_again['loss'] != other['loss']


def test_metrics_are_finite_float32_scalars(made):
  step, state, batches, _ = made
  _, metrics = step(state, batches[0])
  for name, value in metrics.items():
    assert value.shape == () and value.dtype == np.float32 and np.isfinite(value), name
  assert {'loss', 'cross_entropy', 'memax', 'kl', 'feature_std', 'prototypes_in_use', 'mean_assignment_entropy',
          'gradient_norm'} <= metrics.keys()


class Poisoned:
  """An objective whose loss is multiplied by something harmful at the steps given."""

  def __init__(self, objective, steps, factor):
    self._objective, self._steps, self._factor = objective, steps, factor

  def __getattr__(self, name):
    return getattr(self._objective, name)

  def loss(self, params, views, *, step, **rest):
    value, aux = self._objective.loss(params, views, step=step, **rest)
    return value * jnp.where(jnp.isin(step, jnp.array(self._steps)), self._factor, 1), aux


@pytest.fixture(scope='module')
def poisoned():
  """(factor, state, batch) -> (state, metrics)."""
  objective, optimizer, rules, values, _ = parts()
  return jax.jit(lambda factor, *args: make_step(
    Poisoned(objective, [1, 2], factor), optimizer, values['ema_momentum'], 0, rules)(*args))


# The last is finite, and so is the gradient; Adam's squares of it would not be.
@pytest.mark.parametrize('factor', [np.nan, np.inf, 1e25])
def test_an_update_that_is_not_finite_is_skipped_and_counted(made, poisoned, factor):
  _, state, batches, _ = made
  counts = []
  for t in range(4):
    after, metrics = poisoned(factor, state, batches[t % 2])
    same = all((a == b).all() for a, b in zip(*(jax.tree.leaves((s.params, s.ema_params, s.model_state, s.opt_state))
                                                for s in (state, after)), strict=True))
    counts.append((same, float(metrics['skipped_in_a_row']), float(metrics['skipped_updates'])))
    state = after
  assert counts == [(False, 0, 0), (True, 1, 1), (True, 2, 2), (False, 0, 2)]
  assert int(state.step) == 4 and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
