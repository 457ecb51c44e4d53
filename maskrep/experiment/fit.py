"""The fastest options with which a step fits the memory of a machine, found by compiling."""

from collections.abc import Callable, Iterator
import copy

import jax
from ml_collections import ConfigDict

from maskrep.devices.mesh import make_mesh
from maskrep.errors import ConfigError
from maskrep.experiment.experiment import Experiment
from maskrep.process.working import working
from maskrep.train import cost

LEAST = 8  # images of a microbatch per device: fewer leave the devices idle
LARGEST = -1  # a train.microbatch that is searched

Fits = Callable[[ConfigDict], bool]
Changes = dict[str, int]  # field -> value


def fit(config: ConfigDict, devices: int, fits: Fits) -> tuple[ConfigDict, Changes]:
  """Returns the config with the first options that fit, and those that it changed.

  Tried in this order, as each costs more time than the one before: smaller microbatches, of which the largest that
  fits; blocks that are recomputed (`encoder.remat`) and are a loop (`encoder.scan`); a state that is sharded
  (`train.fsdp`).

  Args:
    fits: compiles the step of a config, for which it may take minutes.

  Raises:
    ConfigError: nothing fits.
  """
  for changes in _groups(config, devices):
    size = largest_microbatch(_changed(config, changes), devices, fits)
    if size is not None:
      found = changes | ({'train.microbatch': size} if size != config.to_dict()['train']['microbatch'] else {})
      return _changed(config, found), found
  raise ConfigError(f'config.batch_size={config.batch_size}: does not fit, whatever microbatch, remat and fsdp; use '
                    'more devices or a smaller batch')


def largest_microbatch(config: ConfigDict, devices: int, fits: Fits) -> int | None:
  """The largest `train.microbatch` that fits: 0, which is the whole batch, or its half, quarter, ...; or None."""
  batch_size = config.to_dict()['batch_size']
  sizes, size = [0], batch_size // 2
  while size >= LEAST * devices and batch_size % size == 0 and size % devices == 0:
    sizes.append(size)
    size //= 2

  def fitting(size):
    return fits(_changed(config, {'train.microbatch': size}))

  if fitting(0):
    return 0
  if len(sizes) == 1 or not fitting(sizes[-1]):
    return None
  low, high = 1, len(sizes) - 1  # sizes[high] fits
  while low < high:
    middle = (low + high) // 2
    low, high = (low, middle) if fitting(sizes[middle]) else (middle + 1, high)
  return sizes[high]


def with_microbatch(config: ConfigDict) -> ConfigDict:
  """The config; a `train.microbatch` of -1 becomes the largest that fits the devices of this process.

  Raises:
    ConfigError: none fits, or the devices do not report their memory, or microbatches would change what is trained.
  """
  train = config.to_dict().get('train')
  if not isinstance(train, dict) or train.get('microbatch') != LARGEST:
    return config
  if not Experiment.parse(_changed(config, {'train.microbatch': 0})).objective.exact_microbatches:
    raise ConfigError('config.train.microbatch=-1: must be a number here, as microbatches change the statistics of '
                      'batch norm, and so what is trained')
  limits = [(device.memory_stats() or {}).get('bytes_limit', 0) for device in jax.local_devices()]
  if 0 in limits:
    raise ConfigError('config.train.microbatch=-1: must be a number here, as these devices do not report their memory')
  size = largest_microbatch(config, jax.device_count(), lambda config: step_fits(config, jax.devices(), min(limits)))
  if size is None:
    raise ConfigError(f'config.batch_size={config.batch_size}: does not fit, whatever train.microbatch; set '
                      'encoder.remat, encoder.scan or train.fsdp')
  return _changed(config, {'train.microbatch': size})


def step_fits(config: ConfigDict, devices: list, memory: float, platform: str | None = None) -> bool:
  """Whether the step of a config fits `memory` bytes on each device, compiled for a platform, by default theirs."""
  experiment = Experiment.parse(config)
  program = experiment.program(experiment.batch_size, make_mesh(experiment.train.fsdp, devices))
  with working(f'compiling with train.microbatch={experiment.train.microbatch}, train.fsdp={experiment.train.fsdp}',
               aloud=jax.process_index() == 0):
    traced = program.trace(experiment.data.canvas)
    compiled = cost.compiled(traced.lower(lowering_platforms=(platform,) if platform else None))
  return compiled is not None and sum(cost.memory(compiled) or (0,)) <= memory


def _groups(config: ConfigDict, devices: int) -> Iterator[Changes]:
  """Options beside the microbatch."""
  recompute: Changes = {}
  if 'remat' in config.to_dict().get('encoder', {}):
    recompute = {'encoder.remat': True, 'encoder.scan': True}
  yield {}
  if recompute:
    yield recompute
  shards = 2
  while shards <= devices:
    if devices % shards == 0:
      yield recompute | {'train.fsdp': shards}
    shards *= 2


def _changed(config: ConfigDict, changes: Changes) -> ConfigDict:
  config = copy.deepcopy(config)
  config.update_from_flattened_dict(changes)
  return config
