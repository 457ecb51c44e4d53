"""The batch that objectives are tested on."""

import numpy as np
import pytest


@pytest.fixture(scope='session')
def batch():
  """Six images on canvases, three of them smaller and of another shape, without labels."""
  rng = np.random.default_rng(0)
  return {'image': rng.integers(0, 256, (6, 24, 24, 3), np.uint8), 'size': np.array([[24, 24], [20, 10]] * 3, np.int32),
          'position': np.arange(40, 46, dtype=np.uint32), 'label': np.full(6, -1, np.int32)}
