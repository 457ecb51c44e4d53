import functools

from hypothesis import given
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from maskrep.augment.mix import mix, smooth_labels, symmetric_beta


@functools.partial(jax.jit, static_argnames=('mixup_alpha', 'cutmix_alpha'))
def mixed(keys, images, targets, **alphas):
  return mix(keys, images, targets, **alphas)


def flat(batch, height=7, width=9):
  """Example b is b everywhere and its target is one-hot at b; the one before it in the batch is its partner."""
  images = np.broadcast_to(np.arange(batch, dtype=np.float32)[:, None, None, None], (batch, height, width, 3))
  return images, np.eye(batch, dtype=np.float32)


def shares(targets):
  """What each target of `flat` keeps of its own class, once its row is seen to hold nothing but it and its partner."""
  own = np.diagonal(targets)
  partner = targets[np.arange(len(own)), np.arange(len(own)) - 1]
  np.testing.assert_array_equal(np.count_nonzero(targets, axis=1), (own != 0).astype(int) + (partner != 0))
  np.testing.assert_array_equal(partner, 1 - own)
  return own


def test_without_alphas_nothing_changes():
  images, targets = flat(4)
  same = mix(jax.random.split(jax.random.key(0), 4), images, targets, mixup_alpha=0.0, cutmix_alpha=0.0)
  assert same[0] is images and same[1] is targets


@given(st.integers(0, 2**31), st.sampled_from([(7, 9), (8, 8), (1, 5)]))
def test_cutmix_labels_by_pixels(seed, size):
  images, targets = map(np.asarray, mixed(
    jax.random.split(jax.random.key(seed), 5), *flat(5, *size), mixup_alpha=0.0, cutmix_alpha=1.0))
  own = images == np.arange(5)[:, None, None, None]
  partner = images == (np.arange(5)[:, None, None, None] - 1) % 5
  assert (own ^ partner).all() and (own == own[..., :1]).all()
  pasted = partner[..., 0]
  pixels = pasted.sum((1, 2))
  np.testing.assert_allclose(shares(targets), 1 - pixels / (size[0] * size[1]), rtol=0, atol=1.2e-7)  # an ulp of 1
  # What is pasted is one box.
  np.testing.assert_array_equal(pixels, pasted.any(1).sum(1) * pasted.any(2).sum(1))
  for edges in (pasted.any(1), pasted.any(2)):
    assert (np.abs(np.diff(np.pad(edges.astype(int), ((0, 0), (1, 1))), axis=1)).sum(1) <= 2).all()


@given(st.integers(0, 2**31))
def test_mixup_mixes_images_as_labels(seed):
  images, targets = map(np.asarray, mixed(
    jax.random.split(jax.random.key(seed), 5), *flat(5), mixup_alpha=0.8, cutmix_alpha=0.0))
  own = shares(targets)
  before = np.arange(5)
  expected = own * before + (1 - own) * np.roll(before, 1)
  np.testing.assert_allclose(images, np.broadcast_to(expected[:, None, None, None], images.shape), rtol=1e-6)
  assert len(set(own.tolist())) == 5


def test_both_come_as_often_and_example_by_example():
  images, targets = map(np.asarray, mixed(
    jax.random.split(jax.random.key(0), 600), *flat(600, 4, 4), mixup_alpha=1.0, cutmix_alpha=1.0))
  whole = images == np.round(images)
  cut = whole.all((1, 2, 3))
  assert (cut == whole.any((1, 2, 3))).all()  # a whole number everywhere or nowhere: never both ways on one image
  assert abs(cut.mean() - 0.5) < 0.08  # four standard deviations
  np.testing.assert_array_equal(shares(targets)[cut] * 16 % 1, 0)


def test_rows_keep_their_sums():
  targets = np.random.default_rng(0).uniform(size=(6, 11)).astype(np.float32)
  targets /= targets.sum(1, keepdims=True)
  images = flat(6)[0]
  _, after = mixed(jax.random.split(jax.random.key(0), 6), images, targets, mixup_alpha=0.5, cutmix_alpha=0.5)
  np.testing.assert_allclose(after.sum(1), 1, atol=1e-6)
  assert after.dtype == jnp.float32


def test_an_example_depends_on_itself_its_key_and_the_one_before():
  keys = jax.random.split(jax.random.key(2), 6)
  images = np.random.default_rng(0).normal(size=(6, 19, 17, 3)).astype(np.float32)
  targets = np.random.default_rng(1).uniform(size=(6, 4)).astype(np.float32)
  both = {'mixup_alpha': 1.0, 'cutmix_alpha': 1.0}
  before = mixed(keys, images, targets, **both)
  for a, b in zip(before, mixed(keys, images, targets, **both), strict=True):
    np.testing.assert_array_equal(a, b)
  other_key = mixed(keys.at[2].set(jax.random.key(9)), images, targets, **both)
  other_image = images.copy()
  other_image[2] += 1
  other_target = targets.copy()
  other_target[2] += 1
  other_example = mixed(keys, other_image, other_target, **both)
  for a, b, c in zip(before, other_key, other_example, strict=True):
    np.testing.assert_array_equal(np.delete(a, 2, 0), np.delete(b, 2, 0))
    np.testing.assert_array_equal(np.delete(a, [2, 3], 0), np.delete(c, [2, 3], 0))
  assert (before[0][2] != other_key[0][2]).any() and (before[1][3] != other_example[1][3]).any()


@pytest.mark.parametrize('alpha', [0.1, 0.2, 0.8, 1.0, 4.0])
def test_the_symmetric_beta_is_scipys(alpha):
  draws = np.asarray(jax.vmap(lambda key: symmetric_beta(key, alpha))(jax.random.split(jax.random.key(0), 20000)))
  assert np.isfinite(draws).all() and draws.min() >= 0 and draws.max() <= 1
  # At points: float32 gathers many draws of a small alpha at 0 and 1.
  points = np.linspace(0.001, 0.999, 41)
  ours = (draws[:, None] <= points).mean(0)
  np.testing.assert_allclose(ours, stats.beta(alpha, alpha).cdf(points), atol=0.014)  # four standard deviations


def test_boxes_are_distributed_as_the_papers():
  rng, theirs = np.random.default_rng(0), []
  for _ in range(3000):  # Yun et al. 2019, algorithm 1
    half = (16 * np.sqrt(1 - rng.beta(1, 1, 2)[:1].repeat(2))).astype(int) // 2
    centre = rng.integers(16, size=2)
    low, high = np.clip(centre - half, 0, 16), np.clip(centre + half, 0, 16)
    theirs.append(1 - np.prod(high - low) / 256)
  own = np.concatenate([
    shares(np.asarray(mixed(jax.random.split(jax.random.key(i), 300), *flat(300, 16, 16), mixup_alpha=0.0,
                            cutmix_alpha=1.0)[1])) for i in range(10)])
  assert stats.ks_2samp(own, theirs).pvalue > 1e-3


def test_negative_alphas_are_refused():
  for alphas in ((-0.1, 1.0), (1.0, -0.1)):
    with pytest.raises(ValueError, match='must not be negative'):
      mix(jax.random.split(jax.random.key(0), 4), *flat(4), mixup_alpha=alphas[0], cutmix_alpha=alphas[1])


def test_smooth_labels():
  smooth = smooth_labels(jnp.array([2, 0]), 5, 0.1)
  assert smooth.dtype == jnp.float32
  np.testing.assert_allclose(smooth, [[0.02, 0.02, 0.92, 0.02, 0.02], [0.92, 0.02, 0.02, 0.02, 0.02]], atol=1e-7)
  np.testing.assert_array_equal(smooth_labels(jnp.array([2, 0]), 3, 0.0), [[0, 0, 1], [1, 0, 0]])
