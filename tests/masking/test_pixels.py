import dataclasses

from hypothesis import given
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from maskrep.masking import pixels
from maskrep.masking.pixels import PixelMask

RECIPE = PixelMask(cell=8, ratio=0.15, focal=0.2, focal_area=(0.1, 0.4), channelwise=0.7, noise_std=0.3)
SIZE = 40, 48


def keys(n, seed=0):
  return jax.random.split(jax.random.key(seed), n)


@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 5), st.integers(0, 99))
def test_grid_hides_exactly_so_many_squares(rows, columns, cell, percent):
  cells = rows * columns
  if cells * (100 - percent) < 100:
    return
  mask = np.asarray(pixels.grid_mask(jax.random.key(0), (rows * cell, columns * cell), cell, percent / 100))
  assert mask.shape == (rows * cell, columns * cell) and mask.dtype == bool
  squares = mask.reshape(rows, cell, columns, cell).transpose(0, 2, 1, 3).reshape(cells, -1)
  assert (squares == squares[:, :1]).all()
  assert squares[:, 0].sum() == cells - cells * (100 - percent) // 100


def test_the_papers_grid_hides_8_of_49_and_each_as_often():
  draw = jax.jit(jax.vmap(lambda key: pixels.grid_mask(key, (224, 224), 32, 0.15)[::32, ::32]))
  squares = np.asarray(draw(keys(3000))).reshape(3000, 49)
  assert (squares.sum(1) == 8).all()
  assert stats.chisquare(squares.sum(0)).pvalue > 1e-3


def test_focal_shows_one_box_of_the_area_asked_for():
  draw = jax.jit(jax.vmap(lambda key: pixels.focal_mask(key, SIZE, (0.1, 0.4), (3 / 4, 4 / 3))))
  shown = ~np.asarray(draw(keys(500)))
  rows, columns = shown.any(2), shown.any(1)
  assert (shown == rows[:, :, None] & columns[:, None]).all()
  assert (np.abs(np.diff(rows, axis=1)).sum(1) <= 2).all() and (np.abs(np.diff(columns, axis=1)).sum(1) <= 2).all()
  area = shown.mean((1, 2))
  assert 0.085 < area.min() < 0.12 and 0.38 < area.max() < 0.42
  assert 0.7 < np.min(columns.sum(1) / rows.sum(1)) and np.max(columns.sum(1) / rows.sum(1)) < 1.45


def test_kinds_are_drawn_as_often_as_asked():
  masks = np.asarray(jax.jit(jax.vmap(lambda key: pixels.draw_mask(key, SIZE, RECIPE)))(keys(3000)))
  assert masks.shape == (3000, *SIZE, 3) and masks.dtype == bool
  same = (masks == masks[..., :1]).all((1, 2, 3))
  focal = masks.mean((1, 2, 3)) > 0.5
  for seen, p in ((~same, 0.7), (focal, 0.2), (focal & ~same, 0.14)):
    assert stats.binomtest(int(seen.sum()), 3000, p).pvalue > 1e-3
  # Channels that draw apart share a square only as chance would have it: 5 of 30 squares are hidden.
  apart = masks[~same & ~focal][:, ::8, ::8]
  assert apart.sum((1, 2)).tolist() == [[5, 5, 5]] * len(apart)
  assert (apart[..., 0] & apart[..., 1]).mean() == pytest.approx((5 / 30) ** 2, rel=0.1)


@pytest.mark.parametrize(('focal', 'channelwise'), [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)])
def test_certain_kinds_are_certain(focal, channelwise):
  recipe = dataclasses.replace(RECIPE, focal=focal, channelwise=channelwise)
  masks = np.asarray(jax.jit(jax.vmap(lambda key: pixels.draw_mask(key, SIZE, recipe)))(keys(64)))
  assert ((masks.mean((1, 2, 3)) > 0.5) == bool(focal)).all()
  assert (masks == masks[..., :1]).all((1, 2, 3)).all() == (not channelwise)


def test_the_hidden_is_noise_and_the_shown_is_as_it_was():
  image = jnp.asarray(np.random.default_rng(0).normal(3, 1, (64, 96, 3)), jnp.float32)
  for std in (0.0, 0.3, 2.0):
    recipe = dataclasses.replace(RECIPE, ratio=0.5, focal=0.0, noise_std=std)
    out, mask = map(np.asarray, pixels.mask_image(jax.random.key(1), image, recipe))
    assert out.shape == image.shape and out.dtype == np.float32
    np.testing.assert_array_equal(out[~mask], image[~mask])
    noise = out[mask]
    if std:
      assert stats.kstest(noise / std, 'norm').pvalue > 1e-3
      by_channel = [out[..., c][mask[..., c]] for c in range(3)]
      assert len(np.unique(np.concatenate(by_channel))) > 0.99 * len(noise)
    else:
      assert (noise == 0).all()


def test_an_example_depends_on_its_key_alone():
  images = jnp.asarray(np.random.default_rng(0).normal(size=(5, *SIZE, 3)), jnp.float32)
  draw = jax.jit(pixels.mask_images, static_argnums=(2, 3))
  whole = np.asarray(draw(keys(5), images, RECIPE, 3))
  assert whole.shape == (5, 3, *SIZE, 3) and whole.dtype == np.float32
  order = np.array([3, 0, 4, 1, 2])
  np.testing.assert_array_equal(draw(keys(5)[order], images[order], RECIPE, 3), whole[order])
  np.testing.assert_array_equal(draw(keys(5)[2:3], images[2:3], RECIPE, 3), whole[2:3])
  alone, _ = pixels.mask_image(jax.random.fold_in(keys(5)[1], 2), images[1], RECIPE)
  np.testing.assert_allclose(alone, whole[1, 2], atol=1e-6)
  same = np.asarray(draw(keys(5), jnp.zeros_like(images), RECIPE, 3)).reshape(15, -1)
  assert len(np.unique(same, axis=0)) == 15


@pytest.mark.parametrize(('change', 'message'), [
  ({'cell': 0}, 'cell=0'), ({'ratio': 1.0}, 'ratio=1.0'), ({'focal': 1.2}, 'focal=1.2'),
  ({'channelwise': -0.1}, 'channelwise=-0.1'), ({'focal_area': (0.5, 0.2)}, 'focal_area'),
  ({'noise_std': -1.0}, 'noise_std')])
def test_refuses(change, message):
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(RECIPE, **change)


def test_a_grid_must_fit():
  with pytest.raises(ValueError, match='40x50 is not a multiple of cell=8'):
    pixels.grid_mask(jax.random.key(0), (40, 50), 8, 0.15)
  with pytest.raises(ValueError, match='keeps none'):
    pixels.grid_mask(jax.random.key(0), (8, 8), 8, 0.15)
