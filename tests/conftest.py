"""Test time is compile time: little optimisation, and a compilation cache that the processes of tests share."""

import functools
import gc
from importlib.metadata import version
import json
import os
from pathlib import Path
import sys
import tempfile

from hypothesis import settings
import pytest

CACHE = Path(tempfile.gettempdir()) / f'maskrep-test-cache-{os.getuid()}'
os.environ.setdefault('JAX_PLATFORMS', 'cpu')  # else jax looks for a TPU, as the TPU's compiler is there
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(CACHE))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.1')
os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
# The first halves the time that XLA compiles for a CPU; the second takes a fifth off, as a module that is compiled in
# parts, for many cores, is loaded by each.
# A version that does not know a flag would end the process.
if version('jaxlib').startswith('0.10.'):
  os.environ['XLA_FLAGS'] = (f'{os.environ.get("XLA_FLAGS", "")} --xla_cpu_use_fusion_emitters=false '
                             '--xla_cpu_parallel_codegen_split_count=1')
# Else each process that a test starts compiles all that it imports, for some four seconds.
os.environ.pop('PYTHONDONTWRITEBYTECODE', None)
sys.dont_write_bytecode = False

# Run first, so that no process is left alone with one at the end.
LONG = 'test_elastic', 'test_configs', 'test_distributed', 'test_durability', 'test_bad_days', 'test_fifth_method'

# Examples of new shapes compile anew; time limits have no place on shared machines.
settings.register_profile('maskrep', max_examples=20, deadline=None, derandomize=True)
settings.load_profile('maskrep')

COMPILED = '/jax/core/compile/backend_compile_duration'


@pytest.fixture(scope='session')
def torchvision():
  """timm and transformers import torchvision, whose compiled operators do not load beside every build of torch."""
  from maskrep.weights import peers

  try:
    return peers.library('torchvision')
  except peers.PeerMissing as missing:
    pytest.skip(str(missing))


PROGRAMS = {}  # (config, examples, devices) -> Program


@pytest.fixture
def compiled_once(monkeypatch):
  """Runs of one config share one program, traced and compiled once: not for tests that change what is computed.

  They may start from other weights, which are arguments of the program.
  """
  from maskrep.experiment.experiment import Experiment

  make = Experiment.program

  def program(self, examples, mesh):
    config = self.config | {'train': self.config['train'] | {'init_from': ''}}
    if 'target' in config:
      config['target'] = config['target'] | {'weights': ''}
    key = json.dumps(config, sort_keys=True, default=str), examples, tuple(mesh.devices.flat)
    if key not in PROGRAMS:
      PROGRAMS[key] = one = make(self, examples, mesh)
      object.__setattr__(one, 'lower', functools.cache(one.lower))
    return PROGRAMS[key]

  monkeypatch.setattr(Experiment, 'program', program)


@pytest.fixture(scope='module', autouse=True)
def compiles_nothing(request):
  """What is marked as quick may not become slow: it fails if XLA compiles."""
  if 'quick' not in request.node.keywords:
    yield
    return
  import jax

  compiled = []
  listener = lambda event, *_, **__: compiled.append(event) if event == COMPILED else None  # noqa: E731
  jax.monitoring.register_event_duration_secs_listener(listener)
  yield
  jax.monitoring.unregister_event_duration_listener(listener)
  assert not compiled, f'XLA compiled {len(compiled)} programs: take the mark off, or what compiles out'


def pytest_ignore_collect(collection_path, config):
  """With -m quick other files are not even imported, which takes longer than the tests."""
  if config.getoption('markexpr') == 'quick' and collection_path.match('test_*.py'):
    return 'pytest.mark.quick' not in collection_path.read_text() or None


def pytest_collection_modifyitems(items):
  items.sort(key=lambda item: item.path.stem not in LONG)


def pytest_collection_finish():
  """What is imported stays: without it the garbage collector, which tracing calls often, has far less to look at."""
  gc.collect()
  gc.freeze()
  gc.set_threshold(100_000, 50, 1000)
