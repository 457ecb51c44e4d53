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


@contextlib.contextmanager
def compiling_for(name: str) -> Iterator[None]:
  """Within it `platform()` is `name`, for configs that are read and programs that are traced there."""
  token = _platform.set(name)
  try:
    yield
  finally:
    _platform.reset(token)
