import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskrep.augment import colour, view
from maskrep.augment.view import View

PLAIN = View(
  size=12, crop_scale=(0.3, 1.0), flip=0.0, jitter=0.0, jitter_strength=(0.4, 0.4, 0.2, 0.1), grey=0.0, blur=0.0,
  solarise=0.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
ALL = dataclasses.replace(PLAIN, flip=0.5, jitter=0.8, grey=0.2, blur=0.5, solarise=0.2, mean=(0.5, 0.4, 0.3),
                          std=(0.2, 0.3, 0.4))
SIZES = np.array([[24, 24], [17, 23], [24, 5], [1, 1], [1, 24]])
KEYS = jax.random.split(jax.random.key(3), len(SIZES))
CANVASES = np.zeros((len(SIZES), 24, 24, 3), np.uint8)
for canvas, (height, width) in zip(CANVASES, SIZES, strict=True):
  canvas[:height, :width] = np.random.default_rng(height).integers(0, 256, (height, width, 3))

views = jax.jit(view.views, static_argnums=(3, 4))


def test_a_view_depends_on_its_example_alone():
  batch = np.asarray(views(KEYS, CANVASES, SIZES, ALL, 3))
  assert batch.shape == (5, 3, 12, 12, 3) and batch.dtype == np.float32 and np.isfinite(batch).all()
  order = jnp.array([4, 2, 0, 3, 1])
  np.testing.assert_array_equal(views(KEYS[order], CANVASES[order], SIZES[order], ALL, 3), batch[order])
  one = jax.jit(view.view, static_argnums=3)
  for b in range(2):
    for i in range(3):
      alone = one(jax.random.fold_in(KEYS[b], i), CANVASES[b], SIZES[b], ALL)
      np.testing.assert_allclose(alone, batch[b, i], atol=1e-5)


def test_views_differ_between_keys_and_places():
  same = np.repeat(CANVASES[:1], 4, axis=0)
  batch = np.asarray(views(jax.random.split(jax.random.key(0), 4), same, jnp.tile(SIZES[:1], (4, 1)), ALL, 3))
  assert len({image.tobytes() for image in batch.reshape(12, -1)}) == 12


def test_padding_never_shows():
  poisoned = CANVASES.copy()
  for canvas, (height, width) in zip(poisoned, SIZES, strict=True):
    canvas[height:], canvas[:, width:] = 255, 255
  np.testing.assert_array_equal(views(KEYS, poisoned, SIZES, ALL, 2), views(KEYS, CANVASES, SIZES, ALL, 2))


def test_jit_equals_eager():
  eager = view.views(KEYS[:2], jnp.asarray(CANVASES[:2]), SIZES[:2], ALL, 1)
  np.testing.assert_allclose(views(KEYS[:2], CANVASES[:2], SIZES[:2], ALL, 1), eager, atol=1e-5)


def test_no_views_is_an_empty_array():
  assert views(KEYS, CANVASES, SIZES, PLAIN, 0).shape == (5, 0, 12, 12, 3)


@pytest.fixture
def parts(picture):
  """Draws 400 colour views of one picture with one operation on."""

  def draw(**probability):
    recipe = dataclasses.replace(PLAIN, **probability)
    keys = jax.random.split(jax.random.key(0), 400)
    return np.asarray(jax.jit(jax.vmap(lambda key: view.colour_view(key, jnp.asarray(picture), recipe)))(keys))

  return draw


def test_probability_zero_is_absent(picture, monkeypatch):
  monkeypatch.setattr(view, 'blur', None)
  monkeypatch.setattr(view, 'colour', None)
  assert view.colour_view(KEYS[0], picture, PLAIN) is picture


@pytest.mark.parametrize('operation, changed', [('grey', colour.greyscale), ('solarise', colour.solarise)])
def test_operations_come_as_often_as_asked(parts, picture, operation, changed):
  drawn = parts(**{operation: 0.3})
  is_changed = np.abs(drawn - changed(picture)).max((1, 2, 3)) < 1e-6
  is_same = (drawn == picture).all((1, 2, 3))
  assert (is_changed ^ is_same).all()
  assert abs(is_changed.mean() - 0.3) < 0.1


def test_blur_and_jitter_come_as_often_as_asked(parts, picture):
  for operation, least in (('blur', 0), ('jitter', 1e-5)):
    is_same = np.abs(parts(**{operation: 0.3}) - picture).max((1, 2, 3)) <= least
    # A blur of a tenth of a pixel changes nothing that float32 could show.
    assert abs(is_same.mean() - 0.7) < 0.1
    assert len(np.unique(parts(**{operation: 1})[:, 0, 5, 5])) > 300


def test_flip_comes_as_often_as_asked():
  recipe = dataclasses.replace(PLAIN, crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0), flip=0.3)
  crops = jax.jit(jax.vmap(functools.partial(view.crop_view, recipe=recipe), (0, None, None)))
  drawn = np.asarray(crops(jax.random.split(jax.random.key(0), 400), CANVASES[0], SIZES[0]))
  straight = np.asarray(view.crop_view(KEYS[0], CANVASES[0], SIZES[0], dataclasses.replace(recipe, flip=0.0)))
  flipped = np.abs(drawn - straight[:, :, ::-1]).max((1, 2, 3)) < 1e-6
  assert (flipped ^ (np.abs(drawn - straight).max((1, 2, 3)) < 1e-6)).all()
  assert abs(flipped.mean() - 0.3) < 0.1


def test_normalise_is_per_channel():
  recipe = dataclasses.replace(PLAIN, mean=ALL.mean, std=ALL.std)
  plain = np.asarray(views(KEYS, CANVASES, SIZES, PLAIN, 1))
  assert plain.min() == 0 and plain.max() > 0.5 and plain.max() <= 1
  np.testing.assert_allclose(
    views(KEYS, CANVASES, SIZES, recipe, 1), (plain - np.array(ALL.mean)) / np.array(ALL.std), atol=1e-5)


@pytest.mark.parametrize('size', [(1, 1), (1, 500), (3000, 10)])
def test_extreme_sizes_stay_finite(size):
  side = max(size)
  image = np.full((1, *size, 3), 128, np.uint8)
  canvas = np.pad(image, ((0, 0), (0, side - size[0]), (0, side - size[1]), (0, 0)))
  drawn = views(KEYS[:1], canvas, jnp.array([size]), PLAIN, 2)
  central = view.eval_views(canvas, jnp.array([size]), size=12, crop_fraction=0.875, mean=(0,) * 3, std=(1,) * 3)
  for images in (drawn, central):
    np.testing.assert_allclose(images, 128 / 255, atol=1e-6)


def test_eval_views_know_each_images_size():
  kwargs = dict(size=12, crop_fraction=0.875, mean=ALL.mean, std=ALL.std)
  batch = np.asarray(jax.jit(functools.partial(view.eval_views, **kwargs))(CANVASES, SIZES))
  assert batch.shape == (5, 12, 12, 3) and np.isfinite(batch).all()
  for b in range(2):
    own = CANVASES[b : b + 1, : max(SIZES[b]), : max(SIZES[b])]
    np.testing.assert_allclose(view.eval_views(own, SIZES[b : b + 1], **kwargs)[0], batch[b], atol=1e-5)
