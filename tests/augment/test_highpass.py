import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest
from scipy import ndimage
from sklearn import datasets

from maskrep.augment.highpass import high_pass
from maskrep.masking.pixels import fill, grid_mask

filtered = jax.jit(high_pass, static_argnums=1)


@pytest.fixture(scope='module')
def scene():
  """A photograph of 224 pixels, normalised as for ImageNet."""
  image = Image.fromarray(datasets.load_sample_image('china.jpg')).resize((224, 224), box=(106, 0, 533, 427))
  return ((np.float32(image) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).astype(np.float32)


@pytest.mark.parametrize('sigma', [0.8, 5.0])
def test_is_scipys(scene, sigma):
  image = scene.astype(np.float64)
  reach = int(np.ceil(4 * sigma))
  blurred = ndimage.gaussian_filter(image, (sigma, sigma, 0), mode='mirror', radius=(reach, reach, 0))
  np.testing.assert_allclose(filtered(scene, sigma), image - blurred, atol=5e-6)


def test_a_kernel_wider_than_the_image_reflects_it_again(scene):
  image = scene[:9, :7].astype(np.float64)
  blurred = ndimage.gaussian_filter(image, (5.0, 5.0, 0), mode='mirror', radius=(20, 20, 0))
  np.testing.assert_allclose(filtered(scene[:9, :7], 5.0), image - blurred, atol=5e-6)


def test_mean_is_zero_and_what_is_flat_or_slow_is_gone(scene):
  out = np.asarray(filtered(scene, 5.0))
  assert np.abs(scene.mean((0, 1))).max() > 0.5 and np.abs(out.mean((0, 1))).max() < 2e-3
  np.testing.assert_allclose(filtered(jnp.full((64, 64, 3), 0.7), 5.0), 0, atol=1e-6)
  columns = np.arange(160)
  response = lambda period: np.std(filtered(  # noqa: E731
    np.broadcast_to(np.sin(2 * np.pi * columns / period), (64, 160)).astype(np.float32)[..., None], 5.0)[:, 40:120])
  # The filter passes 1 - exp(-2 (pi sigma f)^2) of a wave.
  for period in (8, 20, 40, 80):
    expected = (1 - np.exp(-2 * (np.pi * 5 / period) ** 2)) / 2**0.5
    assert response(period) == pytest.approx(expected, rel=0.01)


def test_filtered_images_hide_the_edges_of_masks(scene):
  mask = np.asarray(grid_mask(jax.random.key(0), (224, 224), 32, 0.5))
  edges, hidden = mask[:, 1:] != mask[:, :-1], mask[:, 1:] & mask[:, :-1]

  def energy(image, where):
    return np.mean(np.diff(image, axis=1)[where] ** 2)

  def masked(image, std):
    return np.asarray(fill(jax.random.key(1), image, np.broadcast_to(mask[..., None], image.shape), std))

  # Without noise: steps across the edges, in multiples of the same steps before masking.
  high = np.asarray(filtered(scene, 5.0))
  raw_excess, high_excess = (energy(masked(image, 0), edges) / energy(image, edges) for image in (scene, high))
  # With noise as strong as the filtered image: in multiples of the steps within the noise.
  std = high.std()
  raw_noise, high_noise = (energy(masked(x, std), edges) / energy(masked(x, std), hidden) for x in (scene, high))
  print(f'raw {raw_excess:.1f}, high-pass {high_excess:.1f}; noise: raw {raw_noise:.1f}, high-pass {high_noise:.1f}')
  assert raw_excess > 10 * high_excess and high_excess < 4
  assert raw_noise > 5 and high_noise < 1.1


def test_refuses():
  with pytest.raises(ValueError, match='sigma=0.0: must be above 0'):
    high_pass(jnp.zeros((8, 8, 3)), 0.0)
