import functools

import jax
import numpy as np
import pytest
from scipy import stats

from maskrep.augment.erase import AREA, ASPECT, erase

IMAGES = np.random.default_rng(0).normal(size=(400, 24, 20, 3)).astype(np.float32)


@functools.partial(jax.jit, static_argnums=2)
def erased(keys, images, probability):
  return jax.vmap(functools.partial(erase, probability=probability))(keys, images)


def keys(seed, count=400):
  return jax.random.split(jax.random.key(seed), count)


def boxes(after, before):
  """Which pixels changed, and the sides of the boxes they fill."""
  changed = (after != before).any(-1)
  height, width = changed.any(2).sum(1), changed.any(1).sum(1)
  np.testing.assert_array_equal(changed.sum((1, 2)), height * width)
  return changed, height, width


def test_probability_zero_changes_nothing():
  np.testing.assert_array_equal(erased(keys(0), IMAGES, 0.0), IMAGES)


def test_probability_one_always_erases_one_box():
  after = np.asarray(erased(keys(0), IMAGES, 1.0))
  changed, height, width = boxes(after, IMAGES)
  assert after.dtype == np.float32 and (height > 0).all()
  rows, columns = changed.any(2), changed.any(1)
  for edges in (rows, columns):
    assert (np.abs(np.diff(np.pad(edges.astype(int), ((0, 0), (1, 1))), axis=1)).sum(1) == 2).all()
  inside = after[changed]
  assert stats.kstest(inside.ravel(), 'norm').pvalue > 1e-3
  np.testing.assert_allclose(np.corrcoef(inside.T), np.eye(3), atol=0.02)


def test_it_comes_as_often_as_asked():
  after = np.asarray(erased(keys(1), IMAGES, 0.3))
  assert abs((after != IMAGES).any((1, 2, 3)).mean() - 0.3) < 0.1  # four standard deviations


def test_boxes_are_distributed_as_torchvisions(reference):
  torch = pytest.importorskip('torch')
  from torchvision.transforms import RandomErasing

  torch.manual_seed(0)
  image = torch.ones(3, 24, 20)
  theirs = np.array([RandomErasing.get_params(image, AREA, ASPECT, [0.0])[:4] for _ in range(2000)])
  ours = []
  for seed in range(5):
    changed, height, width = boxes(np.asarray(erased(keys(seed), IMAGES, 1.0)), IMAGES)
    ours.append(np.stack([changed.any(2).argmax(1), changed.any(1).argmax(1), height, width], axis=1))
  ours = np.concatenate(ours)
  for of in (lambda b: b[:, 2] * b[:, 3], lambda b: b[:, 3] / b[:, 2], lambda b: b[:, 0], lambda b: b[:, 1]):
    assert stats.ks_2samp(of(ours), of(theirs)).pvalue > 1e-3
  area = ours[:, 2] * ours[:, 3] / 480
  assert abs(area.mean() - sum(AREA) / 2) < 0.01


def test_an_image_depends_on_its_own_key_alone():
  some, order = keys(3, 6), np.array([4, 2, 0, 5, 3, 1])
  batch = np.asarray(erased(some, IMAGES[:6], 0.7))
  np.testing.assert_array_equal(erased(some, IMAGES[:6], 0.7), batch)
  np.testing.assert_array_equal(erased(some[order], IMAGES[order], 0.7), batch[order])


@pytest.mark.parametrize('probability', [-0.1, 1.1])
def test_a_probability_is_one(probability):
  with pytest.raises(ValueError, match='not in'):
    erase(jax.random.key(0), IMAGES[0], probability=probability)
