"""The picture of reconstructions: what stands where."""

import io

import numpy as np
from PIL import Image
import pytest

from maskrep.show.reconstructions import reconstructions_png


def test_images_stand_over_their_reconstructions():
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (11, 3, 7, 3)) / 255
  made = rng.integers(0, 256, (11, 3, 7, 3)) / 255
  sheet = np.asarray(Image.open(io.BytesIO(reconstructions_png(images, made, zoom=2))))
  assert sheet.shape == (2 * (2 * 6 + 1 + 4) + 4, 8 * (14 + 4) + 4, 3)
  for i in range(11):
    top, left = 4 + i // 8 * 17, 4 + i % 8 * 18
    for j, each in enumerate((images, made)):
      found = sheet[top + 7 * j:top + 7 * j + 6, left:left + 14]
      np.testing.assert_array_equal(found[::2, ::2], each[i] * 255)
      np.testing.assert_array_equal(found[1::2, 1::2], each[i] * 255)
  assert (sheet[21:, 58:] == 255).all()


def test_out_of_range_is_clipped():
  made = np.array([-1.0, 2.0, 0.5]) * np.ones((1, 2, 2, 1))
  sheet = np.asarray(Image.open(io.BytesIO(reconstructions_png(np.ones((1, 2, 2, 3)), made, zoom=1))))
  assert sheet[7, 4].tolist() == [0, 255, 128]


@pytest.mark.parametrize(('images', 'made'), [((2, 4, 4, 3), (2, 4, 5, 3)), ((4, 4, 3), (4, 4, 3)),
                                              ((2, 4, 4, 1), (2, 4, 4, 1)), ((0, 4, 4, 3), (0, 4, 4, 3))])
def test_what_is_no_batch_of_images_is_refused(images, made):
  with pytest.raises(ValueError, match='must be'):
    reconstructions_png(np.zeros(images), np.zeros(made), zoom=1)
