"""Token masks: exact counts, distinct indices, uniform marginals, no dependence on anything but the key."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
import jax
import numpy as np
import pytest
from scipy import stats

from maskrep import rng
from maskrep.masking.tokens import disjoint_keep, num_kept, random_keep, shared_keep


@given(st.integers(1, 600), st.integers(0, 99))
def test_num_kept_is_the_floor_of_the_decimal(num_patches, percent):
  expected = num_patches * (100 - percent) // 100
  if expected:
    assert num_kept(num_patches, percent / 100) == expected
  else:
    with pytest.raises(ValueError, match='keeps none'):
      num_kept(num_patches, percent / 100)


def test_num_kept_of_the_papers():
  assert [num_kept(196, r) for r in (0.0, 0.15, 0.3, 0.7)] == [196, 166, 137, 58]
  assert num_kept(10, 0.9) == 1  # 10 * (1 - 0.9) is 0.99999... in floating point
  assert Fraction(num_kept(3136, 0.7), 3136) <= Fraction(3, 10)


@pytest.mark.parametrize('ratio', [-0.1, 1.0, float('nan')])
def test_num_kept_refuses(ratio):
  with pytest.raises(ValueError, match=r'outside \[0, 1\)'):
    num_kept(196, ratio)


@pytest.mark.parametrize(('num_patches', 'keep'), [(1, 1), (7, 3), (36, 35), (196, 137), (3136, 940)])
def test_random_keep_is_a_subset_of_exact_size(num_patches, keep):
  index = np.asarray(random_keep(jax.random.split(jax.random.key(0), 3), num_patches, keep))
  assert index.shape == (3, keep) and index.dtype == np.int32
  assert (np.diff(index, axis=1) > 0).all() and index.min() >= 0 and index.max() < num_patches


def test_random_keep_marginals_are_uniform():
  index = random_keep(jax.random.split(jax.random.key(1), 4000), 17, 5)
  counts = np.bincount(np.asarray(index).ravel(), minlength=17)
  # Counts of a draw without replacement vary less than a multinomial's: the test is conservative against false alarms.
  assert stats.chisquare(counts).pvalue > 1e-3
  pairs = len(np.unique(np.asarray(index), axis=0))
  assert pairs > 2500  # of 6188 subsets: examples do not share masks


def test_random_keep_depends_on_the_key_alone():
  keys = jax.random.split(jax.random.key(2), 6)
  whole = random_keep(keys, 49, 11)
  np.testing.assert_array_equal(whole, jax.jit(random_keep, static_argnums=(1, 2))(keys, 49, 11))
  np.testing.assert_array_equal(whole[3:5], random_keep(keys[3:5], 49, 11))
  assert (np.asarray(whole[0]) != np.asarray(whole[1])).any()


def test_ratio_zero_keeps_everything_in_order():
  index = random_keep(jax.random.split(jax.random.key(3), 2), 9, 9)
  np.testing.assert_array_equal(index, np.tile(np.arange(9), (2, 1)))


def test_shared_keep_is_one_mask():
  index = np.asarray(shared_keep(jax.random.key(4), 5, 30, 7))
  assert index.shape == (5, 7) and (index == index[0]).all() and len(set(index[0])) == 7


def test_keys_depend_on_name_and_position():
  views, loss = rng.stream(0, 'views'), rng.stream(0, 'loss')
  assert views != loss and views != rng.stream(1, 'views')
  positions = np.array([7, 8, 4_000_000_000], np.uint32)
  keys = rng.per_example(views, positions)
  assert keys[1] == rng.per_example(views, positions[1:])[0] and len({str(jax.random.key_data(k)) for k in keys}) == 3
  per_view = rng.per_view(keys, 2)
  assert per_view.shape == (6,) and len({str(jax.random.key_data(k)) for k in per_view}) == 6
  np.testing.assert_array_equal(jax.random.key_data(per_view[2:4]), jax.random.key_data(rng.per_view(keys[1:2], 2)))


@given(st.integers(1, 60), st.integers(1, 8), st.data())
def test_disjoint_masks_share_no_patch(keep, count, data):
  num_patches = data.draw(st.integers(count * keep, count * keep + 50))
  index = np.asarray(disjoint_keep(jax.random.split(jax.random.key(0), 2), num_patches, keep, count))
  assert index.shape == (2, count, keep) and index.dtype == np.int32
  assert (np.diff(index, axis=-1) > 0).all() and index.min() >= 0 and index.max() < num_patches
  assert all(len(np.unique(example)) == count * keep for example in index)


def test_each_of_disjoint_masks_is_uniform():
  index = np.asarray(disjoint_keep(jax.random.split(jax.random.key(2), 4000), 17, 3, 5))
  for i in range(5):
    assert stats.chisquare(np.bincount(index[:, i].ravel(), minlength=17)).pvalue > 1e-3


def test_more_disjoint_masks_than_there_are_patches_are_refused():
  with pytest.raises(ValueError, match='6 disjoint masks that keep 39 patches each need 234, but there are only 196'):
    disjoint_keep(jax.random.split(jax.random.key(0), 2), 196, 39, 6)
