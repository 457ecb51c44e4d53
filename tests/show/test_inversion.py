"""Inversion by a deep image prior, on an encoder whose representation of a patch is its pixels, mixed."""

import jax.numpy as jnp
import numpy as np
import pytest

from maskrep.errors import NonFiniteError
from maskrep.models.vit import patchify
from maskrep.show import inversion

MIX = np.random.default_rng(0).normal(size=(48, 48)).astype(np.float32) / 7


def encode(images):
  return patchify(images, 4) @ MIX


def picture() -> np.ndarray:
  down, across = np.mgrid[:16, :16] / 15
  return np.stack([across, 1 - down, (across > down) * 0.5 + 0.2], -1).astype(np.float32)


@pytest.mark.slow
def test_the_visible_patches_are_recovered():
  """By what they look like: the loss falls to a tenth, and their PSNR rises by 6 dB. Each image has its own loss."""
  images = np.stack([picture(), picture()[::-1]])
  visible = np.zeros((2, 16), bool)
  visible[:, [0, 1, 4, 5, 10]] = True
  wanted = jnp.where(visible[..., None], encode(images), 0)
  found = inversion.invert(encode, wanted, jnp.array(visible), 16, steps=100, seed=0)
  assert found.losses.shape == (100, 2) and found.first.shape == found.last.shape == (2, 16, 16, 3)
  assert (found.losses[-1] < 0.1 * found.losses[0]).all()
  before, after = (inversion.psnr(images, each, visible) for each in (found.first, found.last))
  assert (after > before + 6).all()
  assert (inversion.psnr(images, found.last, ~visible) < after).all()  # nothing in the loss tells of these


def test_dropped_patches_do_not_count():
  visible = np.array([[True, False, True]])
  found, wanted = np.zeros((1, 3, 2)), np.array([[[1.0, 0], [9, 9], [2, 0]]])
  np.testing.assert_allclose(inversion.loss(found, wanted, visible), [(0.5 + 2) / 2])


def test_a_loss_that_stays_is_stalled():
  flat = np.ones((inversion.PATIENCE + 1, 2))
  assert inversion.stalled(flat) and not inversion.stalled(flat[1:])
  falls = flat.copy()
  falls[-1, 1] = 0.98
  assert not inversion.stalled(falls)


@pytest.mark.slow
def test_an_inversion_ends_where_nothing_moves_and_at_nan():
  found = inversion.invert(lambda images: 0 * encode(images), jnp.ones((1, 16, 48)), jnp.ones((1, 16), bool), 16,
                           steps=1000, seed=0)
  assert len(found.losses) == -(-(inversion.PATIENCE + 1) // inversion.CHUNK) * inversion.CHUNK
  with pytest.raises(NonFiniteError, match='step 20'):
    inversion.invert(encode, jnp.full((1, 16, 48), np.nan), jnp.ones((1, 16), bool), 16, steps=40, seed=0)


def test_signal_to_noise_by_hand():
  images = np.zeros((1, 4, 4, 3))
  others = images.copy()
  others[0, :2, :2] = 0.1
  patches = np.array([[True, False, False, False]])
  assert inversion.psnr(images, others, patches) == pytest.approx([20])
  assert inversion.psnr(images, others, np.array([[True, True, False, False]])) == pytest.approx([10 * np.log10(200)])
