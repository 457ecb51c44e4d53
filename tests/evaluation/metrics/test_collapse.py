import jax
import numpy as np
import pytest

from maskrep.evaluation.metrics.collapse import collapse_metrics


def reference(x):
  """Both measures in float64."""
  x = x.astype(np.float64)
  p = np.linalg.svd(x, compute_uv=False)
  p = p / p.sum()
  unit = x / np.linalg.norm(x, axis=1, keepdims=True)
  return {'rankme': np.exp(-np.sum(p * np.log(p))), 'feature_std': unit.std(axis=0).mean() * np.sqrt(x.shape[1])}


def measure(x):
  return {name: float(value) for name, value in collapse_metrics(x.astype(np.float32)).items()}


def test_isotropic_features_have_full_rank_and_unit_std():
  found = measure(np.random.default_rng(0).normal(size=(2003, 31)))
  assert 30.8 < found['rankme'] <= 31
  assert found['feature_std'] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize('row', [np.zeros(97), np.random.default_rng(0).normal(size=97)], ids=['zero', 'constant'])
def test_collapsed_features_have_rank_one_and_no_std(row):
  found = measure(np.broadcast_to(row, (211, 97)))
  assert found['rankme'] == pytest.approx(1, abs=2e-3)
  assert found['feature_std'] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize('shape', [(307, 41), (41, 307)])
def test_rank_counts_equal_directions(shape):
  rng = np.random.default_rng(0)
  left, right = (np.linalg.qr(rng.normal(size=(n, 7)))[0] for n in shape)
  assert measure(left @ right.T)['rankme'] == pytest.approx(7, abs=1e-3)


@pytest.mark.parametrize('decay', [0, 0.3, 1])
def test_float64_parity(decay):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(211, 97)) * np.exp(-decay * np.arange(97)) @ np.linalg.qr(rng.normal(size=(97, 97)))[0] + 0.1
  assert measure(x) == pytest.approx(reference(x), rel=1e-4)


def test_invariance():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(211, 31)) * np.exp(-0.2 * np.arange(31))
  assert measure(1e4 * x) == pytest.approx(measure(x), rel=1e-5)
  rotation = np.linalg.qr(rng.normal(size=(31, 31)))[0]
  assert measure(x @ rotation)['rankme'] == pytest.approx(measure(x)['rankme'], rel=1e-5)


def test_half_precision_features_are_measured_in_float32():
  x = jax.numpy.asarray(np.random.default_rng(0).normal(size=(211, 31)), jax.numpy.bfloat16)
  found = collapse_metrics(x)
  assert {value.dtype for value in found.values()} == {np.dtype(np.float32)}
  assert {k: float(v) for k, v in found.items()} == pytest.approx(measure(np.asarray(x, np.float32)), rel=1e-6)
