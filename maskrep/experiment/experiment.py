"""An experiment: a config, parsed once into the objects it describes, and checked. No data or weights are open yet."""

from collections.abc import Mapping
import dataclasses
import importlib
import pkgutil
from types import ModuleType
from typing import Any

import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from maskrep import methods
from maskrep.data.datasets import Data
from maskrep.errors import ConfigError
from maskrep.evaluation.options import Eval
from maskrep.schema import Count, NonNegativeInt, Reader
from maskrep.train.loop import Train
from maskrep.train.optim import Optim
from maskrep.train.program import Program, make_program
from maskrep.types import Objective

# Fields that may differ when a run is resumed: they affect what is shown or kept, and the speed of a run, but its
# results only by round-off.
FREE_FIELDS = ('eval.', 'data.threads', 'data.download', 'data.stall_timeout_s', 'train.log_every_steps',
               'train.checkpoint_every_steps', 'train.keep_checkpoints', 'train.fsdp', 'encoder.remat', 'encoder.scan')
# What every objective must have: checked first, so that a run does not fail only when it is evaluated.
OBJECTIVE = {name for name in vars(Objective) if not name.startswith('_')}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
  """The objects of one config.

  Attributes:
    config: the config as plain data.
    method: its method, see `method_module`.
    dtype: the dtype of the computation.
  """

  config: dict[str, Any]
  method: str
  seed: int
  batch_size: int
  dtype: jnp.dtype
  data: Data
  optim: Optim
  train: Train
  eval: Eval
  objective: Objective

  @classmethod
  def parse(cls, config: ConfigDict | Mapping[str, Any]) -> 'Experiment':
    """Reads every field of a config once.

    Raises:
      ConfigError: a field is missing, misspelt, of another type, out of range or in conflict with another.
    """
    config = config.to_dict() if isinstance(config, ConfigDict) else dict(config)
    return cls.read(config, Reader(config))

  @classmethod
  def read(cls, config: dict[str, Any], read: Reader) -> 'Experiment':
    """As `parse`, with a reader that the caller keeps."""
    method = read.value('method', str)
    module = method_module(method)
    common = dict(
      seed=read.value('seed', NonNegativeInt), batch_size=read.value('batch_size', Count), dtype=read.dtype,
      data=read('data', Data), train=read('train', Train), optim=read('optim', Optim), eval=Eval.read(read))
    objective = module.from_config(read)
    read.finish()
    warmup, epochs = common['optim'].warmup_epochs, common['train'].epochs
    if warmup > epochs:
      raise ConfigError(f'config.optim.warmup_epochs={warmup:g}: is longer than the run of config.train.epochs='
                        f'{epochs:g}; lower it, for example to {epochs / 10:g}')
    if missing := OBJECTIVE - set(dir(objective)):
      raise ConfigError(f'config.method={method!r}: its objective, a {type(objective).__name__}, has no '
                        f'{" and no ".join(sorted(missing))}; see maskrep.types.Objective')
    return cls(config=config, method=method, objective=objective, **common)

  @property
  def free_fields(self) -> tuple[str, ...]:
    """Fields, or prefixes of fields, that may differ when the run is resumed."""
    return FREE_FIELDS + (('train.microbatch',) if self.objective.exact_microbatches else ())

  def check_devices(self, devices: int) -> None:
    """Checks what must fit the number of `devices`.

    Raises:
      ConfigError: naming the field, its value and the remedy.
    """
    micro = self.train.microbatch
    for field, size in (('batch_size', self.batch_size), ('eval.batch_size', self.eval.batch_size)):
      if size % devices:
        raise ConfigError(f'config.{field}={size}: must be a multiple of the {devices} devices, '
                          f'for example {-(-size // devices) * devices}')
    if micro and (self.batch_size % micro or micro % devices):
      raise ConfigError(f'config.train.microbatch={micro}: must be 0, or divide config.batch_size={self.batch_size} '
                        f'and be a multiple of the {devices} devices')
    if devices % self.train.fsdp:
      raise ConfigError(f'config.train.fsdp={self.train.fsdp}: must divide the number of devices, {devices}')

  def program(self, examples: int, mesh: Mesh) -> Program:
    """The step of a run over N `examples`, and the layout of its state."""
    return make_program(
      self.objective, self.optim, epochs=self.train.epochs, examples=examples, batch_size=self.batch_size,
      seed=self.seed, mesh=mesh, freeze_encoder_steps=self.train.freeze_encoder_steps)


def method_module(name: str) -> ModuleType:
  """The module of a method: one of `maskrep.methods`, or the user's own, by its dotted name.

  It has `from_config(read: Reader) -> Objective`. Those of `maskrep.methods` also have `tiny(config)`, which makes a
  config small for tests.

  Raises:
    ConfigError: there is no such module, it cannot be imported, or it is not a method.
  """
  dotted = name if '.' in name and not name.startswith('.') else f'{methods.__name__}.{name}'
  try:
    module = importlib.import_module(dotted)
  except ImportError as error:
    reason = f'cannot be imported ({" ".join(str(error).split())})'
    raise ConfigError(f'config.method={name!r}: {reason}; {_choices()}') from error
  if not hasattr(module, 'from_config'):
    raise ConfigError(f'config.method={name!r}: {module.__name__} is no method, as it has no from_config; {_choices()}')
  return module


def known_methods() -> list[str]:
  """Names of the methods of `maskrep.methods`."""
  names = [each.name for each in pkgutil.iter_modules(methods.__path__)]
  return [name for name in names if hasattr(importlib.import_module(f'{methods.__name__}.{name}'), 'from_config')]


def _choices() -> str:
  return (f'must be one of {", ".join(known_methods())}, or the dotted name of a module of your own, in a folder on '
          'PYTHONPATH')
