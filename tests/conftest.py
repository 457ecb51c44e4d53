"""Test time is compile time: little optimisation, and a compilation cache that the processes of tests share."""

import os
from pathlib import Path
import tempfile

from hypothesis import settings
import pytest

CACHE = Path(tempfile.gettempdir()) / f'maskrep-test-cache-{os.getuid()}'
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(CACHE))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.1')
os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')

# Examples of new shapes compile anew; time limits have no place on shared machines.
settings.register_profile('maskrep', max_examples=20, deadline=None, derandomize=True)
settings.load_profile('maskrep')


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
