"""Masked image representations in JAX: the names for Python; the same from a shell is `python -m maskrep`.

  encoder = maskrep.load('runs/msn_digits')
  out = encoder(['a.jpg', 'b.png'])
  out['cls'], out['patches']

A name is imported when it is first used, so `import maskrep` takes milliseconds and no JAX.
"""

import importlib
import sys
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
  from maskrep.api.encoder import Encoder as Encoder
  from maskrep.api.encoder import load as load
  from maskrep.process.version import __version__ as __version__

MODULES = {
  'Encoder': 'maskrep.api.encoder',
  'load': 'maskrep.api.encoder',
  '__version__': 'maskrep.process.version',
}

__all__ = list(MODULES)


class _Face(ModuleType):
  """This module. A room that is imported does not hide the public name that it shares, as `train` would."""

  def __setattr__(self, name, value):
    if not (name in MODULES and isinstance(value, ModuleType)):
      super().__setattr__(name, value)


def __getattr__(name):
  if name not in MODULES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  value = getattr(importlib.import_module(MODULES[name]), name)
  setattr(sys.modules[__name__], name, value)
  return value


def __dir__():
  return sorted({*globals(), *MODULES})


sys.modules[__name__].__class__ = _Face
