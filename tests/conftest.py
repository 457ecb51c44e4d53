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
  from maskrep.interop import peers

  try:
    return peers.library('torchvision')
  except peers.Absent as absent:
    pytest.skip(str(absent))
