"""RandAugment: the levels of both sets against their codes, and what is drawn."""

import functools

from hypothesis import given
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from maskrep.augment.operations import OPERATIONS
from maskrep.augment.randaugment import SETS, Draw, draw_operation, rand_augment

MEAN = (0.485, 0.456, 0.406)


@functools.partial(jax.jit, static_argnames=('layers', 'magnitude', 'operations'))
def augment(keys, images, layers, magnitude, operations='augreg'):
  one = functools.partial(rand_augment, layers=layers, magnitude=magnitude, operations=operations, mean=MEAN)
  return jax.vmap(one)(keys, images)


def arguments(operations, magnitude, sign=1.0):
  found = SETS[operations].arguments(Draw(magnitude / 10, jnp.float32(sign), 100, 200))
  return {name: float(value) for name, value in found.items()}


def test_augreg_at_its_magnitude_of_15():
  assert arguments('augreg', 15.0) == pytest.approx({
    'invert': 0, 'auto_contrast': 0, 'equalise': 0, 'rotate': 45, 'shear_x': 0.45, 'shear_y': 0.45,
    'translate_x': 150, 'translate_y': 150, 'cutout': 60, 'brightness': 2.8, 'contrast_by_area': 2.8, 'colour': 2.8,
    'sharpness': 2.8, 'posterise': 6, 'solarise': 128, 'solarise_add': 165})
  mirrored = {name for name, value in arguments('augreg', 15.0, -1.0).items() if value < 0}
  assert mirrored == {'rotate', 'shear_x', 'shear_y', 'translate_x', 'translate_y'}, 'the rest has one direction'
  assert SETS['augreg'].probability == 1 and SETS['augreg'].highest is None


@pytest.mark.parametrize('magnitude', [0, 5, 9, 10, 15, 20])
def test_augreg_rounds_as_its_code(magnitude):
  found = arguments('augreg', float(magnitude))
  for name, scale, wraps in (('posterise', 4, 1000), ('solarise', 256, 256), ('solarise_add', 110, 1000),
                             ('cutout', 40, 1000)):
    assert found[name] == int(magnitude / 10 * scale) % wraps, name


TIMM = {
  'auto_contrast': 'AutoContrast', 'equalise': 'Equalize', 'invert': 'Invert', 'rotate': 'Rotate',
  'posterise': 'PosterizeIncreasing', 'solarise': 'SolarizeIncreasing', 'solarise_add': 'SolarizeAdd',
  'colour': 'ColorIncreasing', 'contrast': 'ContrastIncreasing', 'brightness': 'BrightnessIncreasing',
  'sharpness': 'SharpnessIncreasing', 'shear_x': 'ShearX', 'shear_y': 'ShearY', 'translate_x': 'TranslateXRel',
  'translate_y': 'TranslateYRel'}


@pytest.mark.usefixtures('torchvision')
@pytest.mark.parametrize('magnitude', [0.0, 2.0, 5.0, 9.0, 9.7, 10.0])
def test_increasing_is_timms(magnitude, monkeypatch):
  timm = pytest.importorskip('timm.data.auto_augment')
  assert set(TIMM.values()) == set(timm._RAND_INCREASING_TRANSFORMS)
  ops = timm.rand_augment_ops(9, hparams={}, transforms=timm._RAND_INCREASING_TRANSFORMS)
  assert {op.prob for op in ops} == {SETS['increasing'].probability}
  assert timm._LEVEL_DENOM == 10 * SETS['increasing'].highest
  for sign in (1, -1):
    monkeypatch.setattr(timm, '_randomly_negate', lambda value, sign=sign: sign * value)
    found = arguments('increasing', magnitude, sign)
    assert found.keys() == TIMM.keys()
    for ours, theirs in TIMM.items():
      level = timm.LEVEL_TO_ARG[theirs]
      expected = level(magnitude, {})[0] if level else 0
      expected *= {'translate_x': 200, 'translate_y': 100}.get(ours, 1)
      assert found[ours] == pytest.approx(expected), ours


@given(st.integers(0, 2**31), st.sampled_from([0.0, 2.5, 10.0, 20.0]), st.sampled_from([0.0, 0.3, 1.0]),
       st.sampled_from(sorted(SETS)))
def test_images_stay_images(seed, magnitude, spread, operations):
  images = np.random.default_rng(seed).uniform(1 - spread, 1, (8, 3, 9, 11)).astype(np.float32)
  augmented = np.asarray(augment(jax.random.split(jax.random.key(seed), 8), images, 3, magnitude, operations))
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


def test_empty_pixels_are_grey_or_of_the_mean_colour(picture):
  for operations, colour in (('augreg', (128 / 255,) * 3), ('increasing', MEAN)):
    out = np.asarray(augment(jax.random.split(jax.random.key(0), 200), np.stack([0 * picture + 0.9] * 200), 1, 10.0,
                             operations))
    filled = np.isclose(out, np.array(colour, np.float32)[:, None, None], atol=1e-6).all(1)
    assert (filled.mean((1, 2)) > 0.02).sum() > 10, operations


@functools.partial(jax.jit, static_argnames=('operations', 'magnitude', 'deviation', 'count'))
def draws(operations, magnitude, deviation, count=14000):
  draw = lambda key: draw_operation(key, SETS[operations], magnitude, deviation, 100, 200)  # noqa: E731
  return jax.vmap(draw)(jax.random.split(jax.random.key(0), count))


def test_every_operation_of_a_set_is_drawn_alike_either_way():
  drawn, argument = map(np.asarray, draws('augreg', 15.0, 0.0))
  counts = np.bincount(drawn, minlength=len(OPERATIONS))
  missing = {OPERATIONS[i] for i in np.flatnonzero(counts == 0)}
  assert missing == {'identity', 'contrast'}
  assert stats.chisquare(counts[counts > 0]).pvalue > 1e-3
  rotated = argument[drawn == OPERATIONS.index('rotate')]
  assert set(rotated) == {-45, 45} and abs(rotated.mean()) < 6


def test_timms_operations_are_applied_half_of_the_time():
  drawn, _ = map(np.asarray, draws('increasing', 9.0, 0.5))
  counts = np.bincount(drawn, minlength=len(OPERATIONS))
  assert counts[0] / counts.sum() == pytest.approx(0.5, abs=0.02)
  others = counts[1:][counts[1:] > 0]
  assert len(others) == 15 and stats.chisquare(others).pvalue > 1e-3


def test_each_operation_draws_its_own_level_about_the_magnitude():
  drawn, argument = map(np.asarray, draws('increasing', 9.0, 0.5, 60000))
  levels = np.abs(argument[drawn == OPERATIONS.index('rotate')]) / 30
  normal = stats.norm(0.9, 0.05)
  assert levels.max() == 1 and np.mean(levels == 1) == pytest.approx(normal.sf(1), abs=0.015)
  assert stats.ks_1samp(levels[levels < 1], lambda x: normal.cdf(x) / normal.cdf(1)).pvalue > 1e-3


def test_layers_draw_apart(picture):
  once, twice = (np.asarray(augment(jax.random.split(jax.random.key(3), 64), np.stack([picture] * 64), n, 10.0))
                 for n in (1, 2))
  assert (once != twice).any((1, 2, 3)).mean() > 0.5
