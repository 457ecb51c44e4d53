"""Each operation of RandAugment against Pillow's, or against its definition on bytes."""

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageEnhance, ImageOps
import pytest

from maskrep.augment import operations
from maskrep.augment.operations import OPERATIONS

FILL = (124 / 255, 116 / 255, 104 / 255)
ENHANCERS = {
  'brightness': ImageEnhance.Brightness, 'contrast': ImageEnhance.Contrast, 'colour': ImageEnhance.Color,
  'sharpness': ImageEnhance.Sharpness}  # fmt: skip
CURVES = {
  'invert': lambda image, _: ImageOps.invert(image), 'solarise': ImageOps.solarize,
  'posterise': lambda image, bits: ImageOps.posterize(image, int(bits)),
  'auto_contrast': lambda image, _: ImageOps.autocontrast(image),
  'equalise': lambda image, _: ImageOps.equalize(image)}  # fmt: skip

apply = jax.jit(operations.apply)


def ours(image, operation, argument, key=0):
  return np.asarray(apply(jax.random.key(key), image, OPERATIONS.index(operation), argument, jnp.array(FILL)))


def eight_bits(picture):
  """A planar float32 image on 256 levels, and Pillow's image of it."""
  image = Image.fromarray(np.round(np.moveaxis(picture, 0, -1) * 255).astype(np.uint8))
  return planar(image), image


def planar(image):
  return np.moveaxis(np.asarray(image, np.float32) / 255, -1, 0)


def affine(image, matrix):
  return image.transform(
    image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=(124, 116, 104))


WARPS = {
  'rotate': lambda image, degrees: image.rotate(degrees, Image.Resampling.NEAREST, fillcolor=(124, 116, 104)),
  'shear_x': lambda image, slope: affine(image, (1, slope, 0, 0, 1, 0)),
  'shear_y': lambda image, slope: affine(image, (1, 0, 0, slope, 1, 0)),
  'translate_x': lambda image, pixels: affine(image, (1, 0, pixels, 0, 1, 0)),
  'translate_y': lambda image, pixels: affine(image, (1, 0, 0, 0, 1, pixels))}


def between_pixels(shape, operation, argument):
  """Where the centre of a pixel comes from within a thousandth of the border between two pixels, bool [H, W]."""
  y, x = (at + 0.5 for at in np.indices(shape))
  turn, (height, width) = -np.radians(argument), shape
  if operation == 'rotate':
    x, y = x - width / 2, y - height / 2
    x, y = np.cos(turn) * x + np.sin(turn) * y + width / 2, np.cos(turn) * y - np.sin(turn) * x + height / 2
  elif operation == 'shear_x':
    x = x + argument * y
  elif operation == 'shear_y':
    y = y + argument * x
  return np.any([np.abs(at - np.round(at)) < 1e-3 for at in (x, y)], axis=0)


@pytest.fixture(scope='module')
def dull(picture):
  """A picture whose channels fill different ranges of levels unevenly."""
  return (np.array([0.2, 0.05, 0.4])[:, None, None] + picture**2 * 0.5).astype(np.float32)


@pytest.mark.parametrize(('operation', 'argument'), [
  ('rotate', -45.0), ('rotate', 12.3), ('shear_x', 0.31), ('shear_y', -0.45), ('translate_x', 17.0),
  ('translate_y', -150.0)])
def test_geometry_is_pillows(picture, operation, argument):
  before, image = eight_bits(np.tile(picture, (1, 3, 2)))  # [3, 60, 46]
  same = np.abs(ours(before, operation, argument) - planar(WARPS[operation](image, argument))).max(0) < 1e-6
  either = between_pixels(same.shape, operation, argument)  # a centre between two pixels may go to either
  assert same[~either].all() and either.mean() < 0.05, (same[~either].mean(), either.mean())


@pytest.mark.parametrize('factor', [0.1, 0.65, 1.9, 2.8])
@pytest.mark.parametrize('operation', ENHANCERS)
def test_blends_are_pillows(picture, operation, factor):
  before, image = eight_bits(picture)
  # Pillow rounds what it blends towards, then the blend, to 8 bits.
  tolerance = (1 + abs(1 - factor)) / 255
  np.testing.assert_allclose(
    ours(before, operation, factor), planar(ENHANCERS[operation](image).enhance(factor)), atol=tolerance)


@pytest.mark.parametrize('factor', [0.1, 2.8])
@pytest.mark.parametrize('repeats', [1, 20])
def test_contrast_by_area_differs_from_a_grey_of_as_many_levels_as_256_pixels_go_into_the_image(
  picture, factor, repeats):
  before, _ = eight_bits(np.tile(picture, (1, repeats, repeats)))
  grey = {1: 20 * 23 // 256, 20: 255}[repeats]
  expected = np.clip(grey + factor * (255.0 * before - grey), 0, 255) / 255
  np.testing.assert_allclose(ours(before, 'contrast_by_area', factor), expected, atol=1e-4)


@pytest.mark.parametrize(('operation', 'argument'), [
  ('invert', 0.0), ('solarise', 26.0), ('solarise', 128.0), ('solarise', 256.0), ('posterise', 1.0),
  ('posterise', 6.0), ('posterise', 8.0), ('auto_contrast', 0.0), ('equalise', 0.0)])
def test_curves_are_pillows(picture, dull, operation, argument):
  # Equalise's steps are of 1 pixel in the first two, and of 10 in the last.
  for source in (picture, dull, np.tile(dull, (1, 3, 2))):
    before, image = eight_bits(source)
    # Pillow rounds auto-contrast's line down to 8 bits; the others are levels on both sides.
    tolerance = 1.001 / 255 if operation == 'auto_contrast' else 1e-6
    np.testing.assert_allclose(
      ours(before, operation, argument), planar(CURVES[operation](image, argument)), atol=tolerance)


@pytest.mark.parametrize(('operation', 'argument', 'expected'), [
  ('posterise', 6.0, lambda x: x & 0b11111100), ('posterise', 1.0, lambda x: x & 0b10000000),
  ('posterise', 0.0, lambda x: x * 0), ('solarise', 128.0, lambda x: np.where(x < 128, x, 255 - x)),
  ('solarise', 0.0, lambda x: 255 - x), ('solarise', 256.0, lambda x: x),
  ('solarise_add', 165.0, lambda x: np.where(x < 128, np.minimum(x.astype(int) + 165, 255), x)),
  ('solarise_add', 99.0, lambda x: np.where(x < 128, x.astype(int) + 99, x))])
def test_curves_are_their_definitions_on_every_byte(operation, argument, expected):
  levels = np.arange(256, dtype=np.uint8)
  image = np.broadcast_to(levels.reshape(16, 16), (3, 16, 16)) / np.float32(255)
  got = np.round(255 * ours(image, operation, argument)).astype(int).reshape(3, 256)
  np.testing.assert_array_equal(got, np.tile(expected(levels), (3, 1)))


def test_cutout_fills_a_square_about_a_random_pixel(picture):
  image = np.tile(picture, (1, 3, 2))
  centres = set()
  for key in range(20):
    cut = (ours(image, 'cutout', 6.0, key) != image).all(0)
    rows, columns = np.flatnonzero(cut.any(1)), np.flatnonzero(cut.any(0))
    assert cut.sum() == len(rows) * len(columns) and len(rows) <= 12 and len(columns) <= 12
    # Only at the border is it less than 12 pixels high or wide.
    assert len(rows) == 12 or rows[0] == 0 or rows[-1] == 59
    assert len(columns) == 12 or columns[0] == 0 or columns[-1] == 45
    centres.add((rows[0], columns[0]))
    np.testing.assert_allclose(ours(image, 'cutout', 6.0, key)[:, cut], np.array(FILL)[:, None] * np.ones(cut.sum()))
  assert len(centres) > 15


def test_curves_read_the_nearest_level(dull):
  for operation in CURVES:
    np.testing.assert_allclose(
      ours(dull, operation, 3.0), ours(eight_bits(dull)[0], operation, 3.0), atol=1e-6, err_msg=operation)


@pytest.mark.parametrize('value', [0.0, 0.5, 1.0])
def test_a_flat_image_has_nothing_to_spread(value):
  flat = np.full((3, 20, 23), value, np.float32)
  for operation in ('auto_contrast', 'equalise'):
    np.testing.assert_allclose(ours(flat, operation, 0.0), flat, atol=0.5 / 255)


NEUTRAL = dict.fromkeys(('rotate', 'shear_x', 'shear_y', 'translate_x', 'translate_y', 'cutout', 'solarise_add'), 0.0)
NEUTRAL |= dict.fromkeys((*ENHANCERS, 'contrast_by_area'), 1.0) | {'identity': 7.0, 'solarise': 256.0, 'posterise': 8.0}


def test_neutral_arguments_change_nothing_and_others_do(dull):
  before, _ = eight_bits(dull)
  for operation, argument in NEUTRAL.items():
    np.testing.assert_allclose(ours(before, operation, argument), before, atol=1e-6, err_msg=operation)
  strong = dict.fromkeys(OPERATIONS, 1.8) | {'rotate': 30.0, 'translate_x': 9.0, 'translate_y': 9.0, 'cutout': 9.0,
                                             'solarise': 50.0, 'solarise_add': 90.0}
  changed = [operation for operation in OPERATIONS
             if np.abs(ours(before, operation, strong[operation]) - before).mean() > 0.01]
  assert changed == list(OPERATIONS[1:])
