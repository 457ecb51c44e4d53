"""Torchvision, the reference of this room, and a picture."""

import numpy as np
import pytest


@pytest.fixture(scope='session')
def reference():
  """`torchvision.transforms.functional` on NumPy images: planar float32 [3, H, W] in and out."""
  torch = pytest.importorskip('torch')
  try:
    pytest.importorskip('torchvision')
  except RuntimeError:
    # The compiled operators do not load beside every build of torch; these transforms need only that two names exist.
    library = torch.library.Library('torchvision', 'FRAGMENT')
    for name in ('nms', 'qnms'):
      library.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
  from torchvision.transforms import functional

  def call(name, image, *args, **kwargs):
    return getattr(functional, name)(torch.from_numpy(np.array(image)), *args, **kwargs).numpy()

  yield call


@pytest.fixture(scope='session')
def picture():
  """A float32 image [3, 20, 23] in [0, 1]: random, with black, white, grey and pure pixels."""
  image = np.random.default_rng(0).uniform(size=(3, 20, 23)).astype(np.float32)
  image[:, 0, :7] = np.array([[0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]]).T
  return image
