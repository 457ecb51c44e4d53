"""The platform that programs are compiled for: this machine's, or that of a topology that is not here.

Code whose fastest form depends on the platform asks here, and never jax: while a CPU compiles for a TPU pod,
`jax.default_backend()` is still 'cpu'.
"""

from collections.abc import Iterator
import contextlib
import contextvars

import jax

_platform: contextvars.ContextVar[str | None] = contextvars.ContextVar('platform', default=None)


def platform() -> str:
  """'cpu', 'gpu' or 'tpu'."""
  return _platform.get() or jax.default_backend()


def fuses_attention() -> bool:
  """True for GPUs whose cuDNN has fused attention: NVIDIA's since Ampere, as all topologies that are not here."""
  if _platform.get() is None and jax.default_backend() == 'gpu':
    major = str(getattr(jax.devices()[0], 'compute_capability', '')).partition('.')[0]  # of AMD's a name, as gfx90a
    return major.isdigit() and int(major) >= 8
  return platform() == 'gpu'


@contextlib.contextmanager
def compiling_for(name: str) -> Iterator[None]:
  """Within it `platform()` is `name`, for configs that are read and programs that are traced there."""
  token = _platform.set(name)
  try:
    yield
  finally:
    _platform.reset(token)
