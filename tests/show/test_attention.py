"""Attention over images, by hand."""

import numpy as np

from maskrep.show import attention


def test_four_patches_are_spread_over_any_grid():
  assert [attention.spread(side) for side in (1, 2, 4, 7)] == [(0,), (0, 1, 2, 3), (5, 6, 9, 10), (8, 12, 36, 40)]


def test_weights_lie_on_their_patches_and_frames_have_the_colour_of_the_query():
  images = np.full((1, 96, 96, 3), 0.5)
  weights = np.array([[0.0, 0.1, 0.2, 0.4]])
  found = attention.columns(images, {2: weights, 1: weights[:, ::-1]}, weights)
  assert list(found) == ['image', 'patch 2', 'patch 1', 'class token']
  centres = found['patch 2'][0, 24::48, 24::48]
  np.testing.assert_allclose(centres[0, 0], 0.2)  # no attention: the image in dark grey
  np.testing.assert_allclose(centres[0, 1], [0.2 + 0.6 * 0.75, 0.2, 0.2])
  np.testing.assert_allclose(centres[1, 0], [0.8, 0.2 + 0.6 * 0.5, 0.2])
  np.testing.assert_allclose(centres[1, 1], 0.8)  # the largest weight
  for name, colour in ('patch 2', attention.COLOURS[0]), ('patch 1', attention.COLOURS[1]), (
    'class token', attention.CLASS_TOKEN):
    np.testing.assert_array_equal(found[name][0, [0, -1, 40, 40], [40, 40, 0, -1]], [colour] * 4)
  marked = found['image'][0]
  np.testing.assert_array_equal(marked[48, 24], attention.COLOURS[0])  # patch 2: below, left
  np.testing.assert_array_equal(marked[24, 48], attention.COLOURS[1])  # patch 1: above, right
  np.testing.assert_array_equal(marked[[0, 90], [0, 90]], 0.5)
