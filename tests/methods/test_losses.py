"""Shared terms against float64 re-statements of their formulae."""

from hypothesis import given
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np

from maskrep.methods import losses


def draw(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape)


def softmax64(x):
  e = np.exp(x - x.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def test_hand_computed_case():
  # Two prototypes at right angles; z = (3, 4)/5 gives similarities 0.6 and 0.8.
  log_p = losses.log_assignments(jnp.array([[3.0, 4.0]]), jnp.array([[2.0, 0.0], [0.0, 7.0]]), 0.1)
  np.testing.assert_allclose(log_p, [[-2 - np.log1p(np.exp(-2)), -np.log1p(np.exp(-2))]], rtol=1e-5)
  np.testing.assert_allclose(losses.cross_entropy(jnp.log(jnp.array([[0.25, 0.75]])), log_p)[0],
                             0.25 * 2 + np.log1p(np.exp(-2)), rtol=1e-5)


@given(st.integers(0, 1000))
def test_assignments_entropy_and_cross_entropy(seed):
  z, w, v = draw(seed, 7, 5), draw(seed + 1, 11, 5), draw(seed + 2, 7, 5)
  unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)  # noqa: E731
  p, q = softmax64(unit(z) @ unit(w).T / 0.1), softmax64(unit(v) @ unit(w).T / 0.025)
  log_p = losses.log_assignments(jnp.float32(z), jnp.float32(w), 0.1)
  log_q = losses.log_assignments(jnp.float32(v), jnp.float32(w), 0.025)
  np.testing.assert_allclose(np.exp(log_p), p, rtol=2e-4, atol=1e-7)
  np.testing.assert_allclose(losses.entropy(log_p), -(p * np.log(p)).sum(-1), rtol=1e-4)
  np.testing.assert_allclose(losses.cross_entropy(log_q, log_p), -(q * np.log(p)).sum(-1), rtol=1e-4)
  np.testing.assert_allclose(np.exp(losses.log_mean(log_p)), p.mean(0), rtol=1e-4, atol=1e-8)


def test_sharpening_is_a_power():
  z, w = jnp.float32(draw(0, 4, 5)), jnp.float32(draw(1, 11, 5))
  p = np.exp(losses.log_assignments(z, w, 0.1)).astype(np.float64) ** (1 / 0.25)
  np.testing.assert_allclose(np.exp(losses.log_assignments(z, w, 0.025)), p / p.sum(-1, keepdims=True), rtol=1e-3,
                             atol=1e-7)


def test_sinkhorn_as_in_the_swav_pseudocode():
  logits = draw(3, 13, 7) / 0.1
  q = softmax64(logits).T
  q /= q.sum()
  for _ in range(3):
    q /= q.sum(axis=1, keepdims=True) * 7
    q /= q.sum(axis=0, keepdims=True) * 13
  log_q = losses.log_sinkhorn(jax.nn.log_softmax(jnp.float32(logits)), 3)
  np.testing.assert_allclose(np.exp(log_q), (q * 13).T, rtol=1e-3, atol=1e-7)


def test_sinkhorn_rows_are_distributions_and_prototypes_are_balanced():
  log_q = losses.log_sinkhorn(jnp.float32(draw(4, 16, 4)), 50)
  np.testing.assert_allclose(np.exp(log_q).sum(1), 1, rtol=1e-5)
  np.testing.assert_allclose(np.exp(log_q).sum(0), 4, rtol=1e-3)
  one = losses.log_sinkhorn(jnp.float32(draw(4, 16, 4)), 1)
  np.testing.assert_allclose(np.exp(one).sum(1), 1, rtol=1e-5)  # it ends on the examples, not on the prototypes


def test_extreme_logits_stay_finite():
  log_q = losses.log_sinkhorn(jax.nn.log_softmax(jnp.array([[4e3, -4e3], [-4e3, 4e3], [4e3, -4e3]])), 3)
  assert np.isfinite(losses.entropy(log_q)).all() and np.isfinite(losses.cross_entropy(log_q, log_q)).all()
  gradient = jax.grad(lambda z: losses.log_assignments(z, jnp.eye(3), 0.1)[0, 0])(jnp.zeros((1, 3)))
  assert np.isfinite(gradient).all()


def test_collapse_measures():
  assert losses.feature_std(jnp.ones((9, 5))) < 1e-6
  np.testing.assert_allclose(losses.feature_std(jnp.float32(draw(5, 4000, 32))), 1, atol=0.02)
  assert losses.prototypes_in_use(jnp.eye(6)[jnp.array([0, 0, 3])]) == 2


@given(st.integers(0, 1000))
def test_nt_xent_counts_every_other_view_of_the_batch(seed):
  x, y = draw(seed, 7, 5), draw(seed + 1, 7, 5)
  z = np.concatenate([x, y])
  z /= np.linalg.norm(z, axis=-1, keepdims=True)
  expected = np.zeros((2, 7))
  for i in range(14):
    others = [np.exp(z[i] @ z[j] / 0.2) for j in range(14) if j != i]
    expected[i // 7, i % 7] = -np.log(np.exp(z[i] @ z[(i + 7) % 14] / 0.2) / np.sum(others))
  np.testing.assert_allclose(losses.nt_xent(jnp.float32(x), jnp.float32(y), 0.2), expected, rtol=1e-4)
  gradient = jax.grad(lambda x: losses.nt_xent(x, jnp.float32(y), 0.2).mean())(jnp.float32(x))
  assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0
