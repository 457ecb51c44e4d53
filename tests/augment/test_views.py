import dataclasses
import functools

import jax
import numpy as np
from scipy import stats

from maskrep.augment import blur, colour
from maskrep.augment import views as views_module
from maskrep.augment.views import View, colour_view, crop_view, make_view, make_views, normalise
from maskrep.augment.views import eval_views as make_eval_views
from maskrep.models.encoder import Preprocessing

PLAIN = View(
  size=12, crop_scale=(0.3, 1.0), flip=0.0, jitter=0.0, jitter_strength=(0.4, 0.4, 0.2, 0.1), grey=0.0, blur=0.0,
  solarise=0.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
ALL = dataclasses.replace(
  PLAIN, flip=0.5, jitter=0.8, grey=0.2, blur=0.5, blur_sigma=(0.3, 0.5), solarise=0.2, mean=(0.5, 0.4, 0.3),
  std=(0.2, 0.3, 0.4))
SIZES = np.array([[24, 24], [17, 23], [24, 5], [1, 1], [1, 24]])
KEYS = jax.random.split(jax.random.key(3), len(SIZES))
CANVASES = np.zeros((len(SIZES), 24, 24, 3), np.uint8)
for canvas, (height, width) in zip(CANVASES, SIZES, strict=True):
  canvas[:height, :width] = np.random.default_rng(height).integers(0, 256, (height, width, 3))
POISONED = CANVASES.copy()
for canvas, (height, width) in zip(POISONED, SIZES, strict=True):
  canvas[height:], canvas[:, width:] = 255, 255

views = jax.jit(make_views, static_argnums=(3, 4))
eval_views = jax.jit(functools.partial(make_eval_views, size=12, crop_fraction=0.875, mean=ALL.mean, std=ALL.std))


@functools.partial(jax.jit, static_argnums=3)
def crop_views(keys, canvas, size, recipe):
  return jax.vmap(lambda key: crop_view(key, canvas, size, recipe))(keys)


def test_a_view_depends_on_its_example_alone():
  batch = np.asarray(views(KEYS, CANVASES, SIZES, ALL, 3))
  assert batch.shape == (5, 3, 12, 12, 3) and batch.dtype == np.float32 and np.isfinite(batch).all()
  order = np.array([4, 2, 0, 3, 1])
  np.testing.assert_array_equal(views(KEYS[order], CANVASES[order], SIZES[order], ALL, 3), batch[order])
  alone = jax.jit(make_view, static_argnums=3)(jax.random.fold_in(KEYS[1], 2), CANVASES[1], SIZES[1], ALL)
  np.testing.assert_allclose(alone, batch[1, 2], atol=1e-5)


def test_views_differ_between_keys_and_places():
  batch = np.asarray(views(KEYS, np.stack([CANVASES[0]] * 5), np.stack([SIZES[0]] * 5), ALL, 3))
  assert len({image.tobytes() for image in batch.reshape(15, -1)}) == 15


def test_padding_never_shows():
  np.testing.assert_array_equal(views(KEYS, POISONED, SIZES, ALL, 3), views(KEYS, CANVASES, SIZES, ALL, 3))
  np.testing.assert_array_equal(eval_views(POISONED, SIZES), eval_views(CANVASES, SIZES))


def test_no_views_is_an_empty_array():
  assert jax.eval_shape(lambda: make_views(KEYS, CANVASES, SIZES, PLAIN, 0)).shape == (5, 0, 12, 12, 3)


def test_probability_zero_is_absent(picture, monkeypatch):
  monkeypatch.setattr(views_module, 'blur', None)
  monkeypatch.setattr(views_module, 'colour', None)
  assert colour_view(KEYS[0], picture, PLAIN) is picture


def test_operations_come_independently_and_as_often_as_asked(monkeypatch):
  # Each operation leaves its own mark on an image of zeros.
  monkeypatch.setattr(colour, 'jitter', lambda key, image, strength: image + (strength[0] > 0))
  monkeypatch.setattr(colour, 'greyscale', lambda image: image + 2)
  monkeypatch.setattr(blur, 'gaussian_blur', lambda image, sigma, half_width: image + (sigma > 0.1) * (4 + sigma / 8))
  monkeypatch.setattr(colour, 'solarise', lambda image: image + 8)
  wanted = {'jitter': 0.8, 'grey': 0.3, 'blur': 0.5, 'solarise': 0.4}
  recipe = dataclasses.replace(PLAIN, **wanted, blur_sigma=(0.5, 3.5))
  keys = jax.random.split(jax.random.key(0), 4000)
  marks = np.asarray(jax.vmap(lambda key: colour_view(key, np.zeros((3, 1, 1)), recipe))(keys))[:, 0, 0, 0]
  drawn = (marks.astype(int)[:, None] & [1, 2, 4, 8]) > 0
  np.testing.assert_allclose(drawn.mean(0), list(wanted.values()), atol=0.04)
  np.testing.assert_allclose(np.corrcoef(drawn.T), np.eye(4), atol=0.07)
  sigmas = 8 * (marks % 1)[drawn[:, 2]]
  assert stats.kstest(sigmas, 'uniform', (0.5, 3.0)).pvalue > 1e-3


def test_flip_comes_as_often_as_asked():
  recipe = dataclasses.replace(PLAIN, size=24, crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0), flip=0.3)
  drawn = crop_views(jax.random.split(jax.random.key(0), 400), CANVASES[0], SIZES[0], recipe)
  whole = np.moveaxis(CANVASES[0], -1, 0) / 255
  flipped, straight = (np.isclose(drawn, image, atol=1e-6).all((1, 2, 3)) for image in (whole[:, :, ::-1], whole))
  assert (flipped ^ straight).all()
  assert abs(flipped.mean() - 0.3) < 0.1


def test_normalise_is_per_channel():
  image = np.full((3, 2, 4), 0.5, np.float32)
  np.testing.assert_allclose(normalise(image, ALL.mean, ALL.std)[1, 3], [0, 1 / 3, 0.5], atol=1e-6)


def test_extreme_sizes_stay_finite():
  sizes = np.array([[1, 1], [1, 500], [512, 2], [2, 512]])
  canvases = np.zeros((4, 512, 512, 3), np.uint8)
  for canvas, (height, width) in zip(canvases, sizes, strict=True):
    canvas[:height, :width] = 128
  grey = 128 / 255
  np.testing.assert_allclose(views(KEYS[:4], canvases, sizes, PLAIN, 1), grey, atol=1e-6)
  means = np.broadcast_to((grey - np.array(ALL.mean)) / np.array(ALL.std), (4, 12, 12, 3))
  np.testing.assert_allclose(eval_views(canvases, sizes), means, atol=1e-5)


def test_a_squashed_view_is_the_complete_image_as_in_evaluation():
  recipe = dataclasses.replace(ALL, squash=True, flip=0.0, jitter=0.0, grey=0.0, blur=0.0, solarise=0.0)
  found = np.asarray(views(KEYS, CANVASES, SIZES, recipe, 1))[:, 0]
  np.testing.assert_allclose(found, Preprocessing.of(recipe, 0.5)(CANVASES, SIZES), atol=1e-6)
  sides = [[17, 1], [24, 24]]  # of one column, all columns of the view are that one
  column = np.asarray(views(KEYS[:2], POISONED[[1, 0]], np.array(sides), recipe, 1))[0, 0]
  np.testing.assert_allclose(column, np.broadcast_to(column[:, :1], column.shape), atol=1e-6)
