import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskrep.augment.blur import gaussian_blur

blur = jax.jit(gaussian_blur, static_argnums=2)


@pytest.mark.parametrize('sigma', [0.1, 0.9, 2.0])
@pytest.mark.parametrize('half_width', [1, 8])
def test_blur_is_torchvisions(reference, picture, sigma, half_width):
  expected = reference('gaussian_blur', picture, [2 * half_width + 1] * 2, [sigma] * 2)
  np.testing.assert_allclose(blur(picture, sigma, half_width), expected, atol=2e-6)


def test_blur_keeps_what_is_flat_and_is_the_identity_at_a_thousandth(picture):
  np.testing.assert_allclose(blur(jnp.full((3, 9, 11), 0.7), 1.5, 6), 0.7, atol=1e-6)
  np.testing.assert_array_equal(blur(picture, 1e-3, 8), picture)
