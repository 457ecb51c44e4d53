"""Sliding windows: by hand, against the whole image, and against loops over windows in PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskrep.evaluation.metrics import windows
from maskrep.models.encoder import Preprocessing

SIDE, WINDOW = 12, 4
PREPROCESSING = Preprocessing(size=WINDOW, crop_fraction=1.0, mean=(0.0,) * 3, std=(1.0,) * 3)


def pixel_logits(segment, canvases, sizes, stride, preprocessing=PREPROCESSING):
  """Logits of each pixel of the canvases, [B, S, S, C]."""

  def compose(canvases, sizes):
    found, rows, columns = windows.logits(segment, preprocessing, canvases, sizes, stride=stride)
    return jnp.einsum('wbyr,wbxs,wbrsc->byxc', rows, columns, found)

  return np.asarray(jax.jit(compose)(canvases, np.array(sizes, np.int32)))


def canvas(image):
  return np.pad(image, [(0, SIDE - side) for side in image.shape[:2]] + [(0, 0)])


def test_windows_that_overlap_are_averaged_by_hand():
  """Each window knows only its first pixel, 10 times its row or column. Three images: wide, tall, and of one window."""
  wide = np.broadcast_to(np.arange(8, dtype=np.uint8)[:, None] * 10, (4, 8, 3))
  images = [wide, wide.swapaxes(0, 1), wide[:, :4]]
  segment = lambda images: jnp.broadcast_to(images[:, :1, :1, :1] * 255, (len(images), 2, 2, 1))  # noqa: E731
  found = pixel_logits(segment, np.stack([*map(canvas, images)]), [(4, 8), (8, 4), (4, 4)], stride=2)[..., 0]
  by_hand = [0, 0, 10, 10, 30, 30, 40, 40]  # windows start at 0, 2 and 4
  np.testing.assert_allclose(found[0, :4, :8], [by_hand] * 4, atol=1e-4)
  np.testing.assert_allclose(found[1, :8, :4].T, [by_hand] * 4, atol=1e-4)
  np.testing.assert_allclose(found[2, :4, :4], 0, atol=1e-4)


def cells(images):
  """Logits of 2 x 2 cells, each a fixed function of its pixels."""
  size, weights = images.shape[1], np.random.default_rng(3).normal(size=(3 * (images.shape[1] // 2)**2, 2))
  patches = images.reshape(-1, 2, size // 2, 2, size // 2, 3).swapaxes(2, 3).reshape(-1, 2, 2, len(weights))
  return patches @ weights.astype(np.float32)


def test_a_window_as_large_as_the_image_gives_the_logits_of_the_whole():
  image = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
  large = Preprocessing(size=SIDE, crop_fraction=1.0, mean=(0.5,) * 3, std=(0.5,) * 3)
  whole, slid = (pixel_logits(cells, image, [(SIDE, SIDE)] * 2, stride, large) for stride in (0, 5))
  assert np.std(whole) > 0.1
  np.testing.assert_allclose(slid, whole, atol=1e-5)


@pytest.mark.parametrize('size', [(9, 3), *(pytest.param(each, marks=pytest.mark.slow) for each in [(3, 7), (3, 3)])])
def test_windows_slide_as_in_loops(size):
  """Resize, cut, predict, enlarge, add, count, divide, resize back. Images are enlarged: reducing, we antialias."""
  torch = pytest.importorskip('torch')
  resize = lambda x, size: torch.nn.functional.interpolate(x, size, mode='bilinear')  # noqa: E731
  image, stride = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8), 3
  found = pixel_logits(cells, canvas(image)[None], [size], stride)[0, :size[0], :size[1]]

  lengths = [int(side * WINDOW / min(size) + 0.5) for side in size]
  pixels = resize(torch.tensor(image / 255).permute(2, 0, 1)[None].float(), lengths)
  total, times = torch.zeros(1, 2, *lengths), torch.zeros(1, 1, *lengths)
  starts = [sorted({min(first, length - WINDOW) for first in range(0, length - WINDOW + stride, stride)})
            for length in lengths]
  for top in starts[0]:
    for left in starts[1]:
      place = ..., slice(top, top + WINDOW), slice(left, left + WINDOW)
      predicted = torch.tensor(np.asarray(cells(pixels[place].permute(0, 2, 3, 1).numpy()))).permute(0, 3, 1, 2)
      total[place] += resize(predicted, (WINDOW, WINDOW))
      times[place] += 1
  assert len(starts[0]) * len(starts[1]) == {(3, 7): 3, (9, 3): 4, (3, 3): 1}[size]
  expected = resize(total / times, size)[0].permute(1, 2, 0).numpy()
  np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_very_long_image_is_squashed_to_the_longest():
  assert windows.resized(np.array([[3, 100], [100, 3], [6, 8]]), 4).tolist() == [[4, 16], [16, 4], [4, 5]]
