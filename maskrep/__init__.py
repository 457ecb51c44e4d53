"""Masked image representations in JAX: the Python interface; `maskrep` is the same for a shell.

>>> encoder = maskrep.load('runs/msn_digits')
>>> out = encoder(['a.jpg', 'b.png'])
>>> out['cls'], out['patches']
>>> maskrep.train('msn_digits', workdir='runs/try', changes={'train.epochs': 2.0})
>>> maskrep.evaluate('runs/try', 'knn')['figures']

Names are imported when first used, so `import maskrep` takes milliseconds and does not import JAX.
"""

import importlib
import sys
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
  from maskrep.api.encoder import Encoder as Encoder
  from maskrep.api.encoder import load as load
  from maskrep.api.runs import config as config
  from maskrep.api.runs import evaluate as evaluate
  from maskrep.api.runs import train as train
  from maskrep.process.version import __version__ as __version__

MODULES = {
  'Encoder': 'maskrep.api.encoder',
  'load': 'maskrep.api.encoder',
  'config': 'maskrep.api.runs',
  'evaluate': 'maskrep.api.runs',
  'train': 'maskrep.api.runs',
  '__version__': 'maskrep.process.version',
}

__all__ = ['Encoder', '__version__', 'config', 'evaluate', 'load', 'train']


class _Face(ModuleType):
  """This module. A submodule that is imported does not hide a public name like its own, as `train` would."""

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
