import itertools

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageEnhance, ImageOps
import pytest

from maskrep.augment import colour

# Torchvision's luma of tensors has 0.2989 where Pillow, which we follow, has 0.299: at most 1e-4, times the factor.
LUMA = 2e-4
NAMES = ('adjust_brightness', 'adjust_contrast', 'adjust_saturation', 'adjust_hue')
adjust = jax.jit(colour.adjust)


def only(operation, factor):
  return jnp.array([1.0, 1.0, 1.0, 0.0]).at[operation].set(factor), jnp.roll(jnp.arange(4), operation)


def pillow(change, picture):
  """Applies a change of Pillow's to the image in 8 bits: returns what went in and what came out, in [0, 1]."""
  image = Image.fromarray(np.round(np.moveaxis(picture, 0, -1) * 255).astype(np.uint8))
  return (np.moveaxis(np.asarray(i, np.float32) / 255, -1, 0) for i in (image, change(image)))


@pytest.mark.parametrize('factor', [0.0, 0.4, 1.0, 1.7])
@pytest.mark.parametrize('operation', [colour.BRIGHTNESS, colour.CONTRAST, colour.SATURATION])
def test_blends_are_torchvisions_and_pillows(reference, picture, operation, factor):
  ours = adjust(picture, *only(operation, factor))
  np.testing.assert_allclose(ours, reference(NAMES[operation], picture, factor), atol=LUMA)
  enhance = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[operation]
  before, after = pillow(lambda image: enhance(image).enhance(factor), picture)
  np.testing.assert_allclose(adjust(before, *only(operation, factor)), after, atol=1.5 / 255)


@pytest.mark.parametrize('turns', [-0.5, -0.13, 0.0, 0.2, 0.5])
def test_hue_is_torchvisions(reference, picture, turns):
  np.testing.assert_allclose(adjust(picture, *only(colour.HUE, turns)), reference('adjust_hue', picture, turns),
                             atol=2e-6)


def test_every_order_is_torchvisions(reference, picture):
  factors = jnp.array([1.3, 0.6, 1.5, 0.1])
  results = set()
  for order in itertools.permutations(range(4)):
    expected = picture
    for operation in order:
      expected = reference(NAMES[operation], expected, float(factors[operation]))
    ours = np.asarray(adjust(picture, factors, jnp.array(order)))
    # A luma off by 1e-4 moves the hue of nearly grey pixels.
    np.testing.assert_allclose(ours, expected, atol=2e-3)
    results.add(ours.tobytes())
  assert len(results) == 24


def test_greyscale_and_solarise(reference, picture):
  np.testing.assert_allclose(colour.greyscale(picture), reference('rgb_to_grayscale', picture, 3), atol=LUMA)
  np.testing.assert_array_equal(colour.solarise(picture), reference('solarize', picture, 0.5))
  before, after = pillow(lambda image: image.convert('L').convert('RGB'), picture)
  np.testing.assert_allclose(colour.greyscale(before), after, atol=0.6 / 255)
  before, after = pillow(ImageOps.solarize, picture)
  np.testing.assert_allclose(colour.solarise(before), after, atol=1e-6)


def test_jitter_draws_within_its_strength_in_every_order(monkeypatch, picture):
  monkeypatch.setattr(colour, 'adjust', lambda image, factors, order: (factors, order))
  draw = jax.jit(jax.vmap(lambda key: colour.jitter(key, picture, jnp.array([0.4, 1.5, 0.2, 0.1]))))
  factors, orders = map(np.asarray, draw(jax.random.split(jax.random.key(0), 4800)))
  low, high = np.array([0.6, 0.0, 0.8, -0.1]), np.array([1.4, 2.5, 1.2, 0.1])
  assert (factors >= low - 1e-6).all() and (factors <= high + 1e-6).all()
  np.testing.assert_allclose(factors.mean(0), (low + high) / 2, atol=0.05)
  np.testing.assert_allclose(factors.std(0), (high - low) / 12**0.5, rtol=0.05)
  ranks = np.argsort(orders, axis=1)
  np.testing.assert_allclose(np.corrcoef(factors.T, ranks.T)[:4, 4:], 0, atol=0.06)
  counts = np.unique(orders, axis=0, return_counts=True)[1]
  assert len(counts) == 24 and abs(counts - 200).max() < 60  # four standard deviations


def test_jitter_without_strength_changes_nothing(picture):
  jittered = jax.jit(colour.jitter)(jax.random.key(0), picture, jnp.zeros(4))
  np.testing.assert_allclose(jittered, picture, atol=1e-6)
