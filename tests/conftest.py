"""Test time is compile time: little optimisation, and a compilation cache that the processes of tests share."""

from importlib.metadata import version
import os
from pathlib import Path
import sys
import tempfile

from hypothesis import settings
import pytest

CACHE = Path(tempfile.gettempdir()) / f'maskrep-test-cache-{os.getuid()}'
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(CACHE))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.1')
os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
# Halves the time that XLA compiles for a CPU. A version that does not know a flag would end the process.
if version('jaxlib').startswith('0.10.'):
  os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} --xla_cpu_use_fusion_emitters=false'
# Else each process that a test starts compiles all that it imports, for some four seconds.
os.environ.pop('PYTHONDONTWRITEBYTECODE', None)
sys.dont_write_bytecode = False

# Run first, so that no process is left alone with one at the end.
LONG = 'test_elastic', 'test_configs', 'test_distributed', 'test_durability', 'test_bad_days', 'test_fifth_method'

# Examples of new shapes compile anew; time limits have no place on shared machines.
settings.register_profile('maskrep', max_examples=20, deadline=None, derandomize=True)
settings.load_profile('maskrep')


@pytest.fixture(scope='session')
def torchvision():
  """timm and transformers import torchvision, whose compiled operators do not load beside every build of torch."""
  from maskrep.weights import peers

  try:
    return peers.library('torchvision')
  except peers.PeerMissing as missing:
    pytest.skip(str(missing))


def pytest_collection_modifyitems(items):
  items.sort(key=lambda item: item.path.stem not in LONG)
