import jax
import pytest


@pytest.fixture(autouse=True, scope='package')
def quick_compilation():
  """Most of this room's test time is LLVM optimising programs that run once."""
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)
