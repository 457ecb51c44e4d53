"""What the parity tests need of their peers."""

import pytest


@pytest.fixture(scope='session')
def torchvision():
  """timm and transformers import torchvision, whose compiled operators do not load beside every build of torch."""
  torch = pytest.importorskip('torch')
  try:
    yield pytest.importorskip('torchvision')
  except RuntimeError:
    library = torch.library.Library('torchvision', 'FRAGMENT')
    for name in ('nms', 'qnms'):
      library.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    import torchvision

    yield torchvision
