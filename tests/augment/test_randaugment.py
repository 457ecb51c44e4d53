import functools
import math

from hypothesis import given
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageEnhance, ImageOps
import pytest
from scipy import stats

from maskrep.augment import randaugment
from maskrep.augment.randaugment import OPERATIONS

apply = jax.jit(randaugment.apply)
LEVELS = (-1.9, -1.0, -0.35, 0.0, 0.35, 1.0, 1.9)
ENHANCERS = {
  'brightness': ImageEnhance.Brightness, 'contrast': ImageEnhance.Contrast, 'colour': ImageEnhance.Color,
  'sharpness': ImageEnhance.Sharpness}  # fmt: skip
CURVES = {
  'solarise': lambda image, level: ImageOps.solarize(image, 256 * (1 - level)),
  'posterise': lambda image, level: ImageOps.posterize(image, max(1, 8 - round(4 * level))),
  'auto_contrast': lambda image, level: ImageOps.autocontrast(image),
  'equalise': lambda image, level: ImageOps.equalize(image)}  # fmt: skip


@functools.partial(jax.jit, static_argnums=(2,))
def augment(keys, images, layers, magnitude):
  one = functools.partial(randaugment.rand_augment, layers=layers, magnitude=magnitude)
  return jax.vmap(one)(keys, images)


def ours(image, operation, level):
  return np.asarray(apply(image, OPERATIONS.index(operation), level))


def eight_bits(picture):
  """A planar float32 image on Pillow's 256 levels, and Pillow's image of it."""
  image = Image.fromarray(np.round(np.moveaxis(picture, 0, -1) * 255).astype(np.uint8))
  return planar(image), image


def planar(image):
  return np.moveaxis(np.asarray(image, np.float32) / 255, -1, 0)


def affine(image, matrix):
  return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=(128,) * 3)


def expected_warp(operation, image, level):
  """As timm's: Pillow's affine maps and `rotate`."""
  width, height = image.size
  match operation:
    case 'rotate':
      return image.rotate(30 * level, Image.Resampling.NEAREST, fillcolor=(128,) * 3)
    case 'shear_x':
      return affine(image, (1, 0.3 * level, 0, 0, 1, 0))
    case 'shear_y':
      return affine(image, (1, 0, 0, 0.3 * level, 1, 0))
    case 'translate_x':
      return affine(image, (1, 0, 0.45 * level * width, 0, 1, 0))
    case 'translate_y':
      return affine(image, (1, 0, 0, 0, 1, 0.45 * level * height))


@pytest.fixture(scope='module')
def dull(picture):
  """A picture whose channels fill different ranges of levels unevenly."""
  return (np.array([0.2, 0.05, 0.4])[:, None, None] + picture**2 * 0.5).astype(np.float32)


@pytest.mark.parametrize('level', LEVELS)
@pytest.mark.parametrize('operation', ['rotate', 'shear_x', 'shear_y', 'translate_x', 'translate_y'])
def test_geometry_is_pillows(picture, operation, level):
  before, image = eight_bits(np.tile(picture, (1, 3, 2)))  # [3, 60, 46]
  expected = planar(expected_warp(operation, image, level))
  # Pillow fills with 128 / 255, and a centre that falls between two pixels may go to either. (At 2.0 a tenth would.)
  same = np.abs(ours(before, operation, level) - expected).max(0) < 0.003
  assert same.mean() > 0.99, same.mean()


@pytest.mark.parametrize('level', LEVELS)
@pytest.mark.parametrize('operation', ENHANCERS)
def test_blends_are_pillows(picture, operation, level):
  before, image = eight_bits(picture)
  factor = max(0.1, 1 + 0.9 * level)
  expected = planar(ENHANCERS[operation](image).enhance(factor))
  # Pillow rounds what it blends towards, then the blend, to 8 bits.
  tolerance = (1 + abs(1 - factor)) / 255
  np.testing.assert_allclose(ours(before, operation, level), expected, atol=tolerance)


@pytest.mark.parametrize('level', LEVELS)
@pytest.mark.parametrize('operation', CURVES)
def test_curves_are_pillows(picture, dull, operation, level):
  # Equalise's steps are of 1 pixel in the first two, and of 10 in the last.
  for source in (picture, dull, np.tile(dull, (1, 3, 2))):
    before, image = eight_bits(source)
    expected = planar(CURVES[operation](image, abs(level)))
    # Pillow rounds auto-contrast's line down to 8 bits; the others are levels on both sides.
    tolerance = 1.001 / 255 if operation == 'auto_contrast' else 1e-6
    np.testing.assert_allclose(ours(before, operation, level), expected, atol=tolerance)


def test_curves_read_the_nearest_level(dull):
  for operation in CURVES:
    np.testing.assert_allclose(
      ours(dull, operation, 0.5), ours(eight_bits(dull)[0], operation, 0.5), atol=1e-6, err_msg=operation)


@pytest.mark.parametrize('value', [0.0, 0.5, 1.0])
def test_a_flat_image_has_nothing_to_spread(value):
  flat = np.full((3, 20, 23), value, np.float32)
  for operation in ('auto_contrast', 'equalise'):
    np.testing.assert_allclose(ours(flat, operation, 1.0), flat, atol=0.5 / 255)


def test_magnitude_zero_is_the_identity(picture):
  for operation in OPERATIONS[:10]:
    np.testing.assert_array_equal(ours(picture, operation, 0.0), picture, err_msg=operation)
  for operation in ('solarise', 'posterise'):
    np.testing.assert_allclose(ours(picture, operation, 0.0), picture, atol=0.501 / 255, err_msg=operation)
  np.testing.assert_array_equal(ours(picture, 'identity', 1.0), picture)


def test_every_operation_but_identity_changes_the_image(dull):
  for level in (-1.0, 1.0):
    changed = [np.abs(ours(dull, operation, level) - dull).mean() > 0.01 for operation in OPERATIONS]
    assert changed == [False] + 13 * [True]


@given(st.integers(0, 2**31), st.sampled_from([0.0, 2.5, 10.0, 20.0, 100.0]), st.sampled_from([0.0, 0.3, 1.0]))
def test_images_stay_images(seed, magnitude, spread):
  images = np.random.default_rng(seed).uniform(1 - spread, 1, (8, 3, 9, 11)).astype(np.float32)
  augmented = np.asarray(augment(jax.random.split(jax.random.key(seed), 8), images, 3, magnitude))
  assert augmented.shape == images.shape and augmented.dtype == np.float32
  assert np.isfinite(augmented).all() and augmented.min() >= 0 and augmented.max() <= 1


def test_no_layers_change_nothing(picture):
  np.testing.assert_array_equal(augment(jax.random.split(jax.random.key(0), 1), picture[None], 0, 10.0), picture[None])


def test_an_image_depends_on_its_own_key_alone(picture):
  keys = jax.random.split(jax.random.key(1), 6)
  images = np.stack([np.roll(picture, i, axis=2) for i in range(6)])
  batch = np.asarray(augment(keys, images, 2, 10.0))
  np.testing.assert_array_equal(augment(keys, images, 2, 10.0), batch)
  order = np.array([4, 2, 0, 5, 3, 1])
  np.testing.assert_array_equal(augment(keys[order], images[order], 2, 10.0), batch[order])
  np.testing.assert_array_equal(augment(keys[2:3], images[2:3], 2, 10.0), batch[2:3])
  assert len({image.tobytes() for image in augment(keys, np.stack([picture] * 6), 2, 10.0)}) > 3


def test_layers_draw_every_operation_either_way_alike_and_alone(monkeypatch):
  # Each layer writes down what it drew.
  monkeypatch.setattr(
    randaugment, 'apply', lambda image, operation, level: 100 * image + 2.0 * operation + (level > 0))
  draw = functools.partial(randaugment.rand_augment, layers=2, magnitude=7.0)
  keys = jax.random.split(jax.random.key(0), 14000)
  drawn = np.asarray(jax.vmap(draw, in_axes=(0, None))(keys, jnp.zeros(()))).astype(int)
  first, second = np.divmod(drawn, 100)
  table = np.histogram2d(first, second, bins=[np.arange(29)] * 2)[0]
  assert table.sum() == 14000
  assert stats.chisquare(table.sum(0)).pvalue > 1e-3 and stats.chisquare(table.sum(1)).pvalue > 1e-3
  assert stats.chisquare(table.ravel()).pvalue > 1e-3


def test_the_level_is_a_tenth_of_the_magnitude(monkeypatch):
  monkeypatch.setattr(randaugment, 'apply', lambda image, operation, level: image + jnp.abs(level))
  level = randaugment.rand_augment(jax.random.key(0), jnp.zeros(()), layers=1, magnitude=15.0)
  assert math.isclose(level, 1.5)


def test_each_operation_draws_its_own_level_about_the_magnitude(monkeypatch):
  monkeypatch.setattr(
    randaugment, 'apply', lambda image, operation, level: jnp.roll(image, 1).at[0].set(jnp.abs(level)))
  draw = functools.partial(randaugment.rand_augment, layers=2, magnitude=9.0, deviation=0.5)
  levels = np.asarray(jax.vmap(draw, in_axes=(0, None))(jax.random.split(jax.random.key(0), 4000), jnp.zeros(2)))
  normal = stats.norm(0.9, 0.05)
  assert levels.max() == 1 and np.mean(levels == 1) == pytest.approx(normal.sf(1), abs=0.01)
  assert stats.ks_1samp(levels[levels < 1], lambda x: normal.cdf(x) / normal.cdf(1)).pvalue > 1e-3
  assert abs(np.corrcoef(levels.T)[0, 1]) < 0.05
