"""Features without an encoder."""

import numpy as np
import pytest

from maskrep.evaluation.features import pixels


@pytest.mark.parametrize('size, canvas, side', [(6, 16, 6), (12, 8, 8)])
def test_pixels_are_judged_at_the_size_of_the_views_and_never_enlarged(size, canvas, side):
  """At the size of a canvas of 512 pixels one image would be 3 MB."""
  image = np.full((2, canvas, canvas, 3), [51, 102, 255], np.uint8)
  found = pixels(size, canvas)(None, {'image': image, 'size': np.full((2, 2), canvas)})
  assert found.shape == (2, side * side * 3)
  np.testing.assert_allclose(found, np.tile([0.2, 0.4, 1.0], (2, side * side)), atol=1e-6)
