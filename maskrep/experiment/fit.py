"""The fastest options with which a step fits the memory of a machine, found by compiling."""

from collections.abc import Callable, Iterator
import copy

from ml_collections import ConfigDict

from maskrep.errors import ConfigError

LEAST = 8  # images of a microbatch per device: fewer leave the devices idle


def fit(config: ConfigDict, devices: int, fits: Callable[[ConfigDict], bool]) -> tuple[ConfigDict, dict[str, object]]:
  """Returns the config with the first options that fit, and those that it changed.

  Tried in this order, as each costs more time than the one before: as the config is, smaller microbatches, blocks that
  are recomputed (`encoder.remat`) and are a loop (`encoder.scan`), a state that is sharded (`train.fsdp`). Of
  microbatches the largest.

  Args:
    fits: compiles the step of a config, for which it may take minutes.

  Raises:
    ConfigError: nothing fits.
  """
  if fits(config):
    return config, {}
  for changes in _groups(config, devices):
    sizes = _microbatches(config.batch_size, devices)
    if not fits(_changed(config, changes | {'train.microbatch': sizes[-1]})):
      continue
    low, high = 0, len(sizes) - 1  # sizes[high] fits
    while low < high:
      middle = (low + high) // 2
      if fits(_changed(config, changes | {'train.microbatch': sizes[middle]})):
        high = middle
      else:
        low = middle + 1
    found = changes | {'train.microbatch': sizes[high]}
    return _changed(config, found), found
  raise ConfigError(f'config.batch_size={config.batch_size}: does not fit, whatever microbatch, remat and fsdp; use '
                    'more devices or a smaller batch')


def _groups(config: ConfigDict, devices: int) -> Iterator[dict[str, object]]:
  """Options beside the microbatch."""
  recompute = {'encoder.remat': True, 'encoder.scan': True} if 'remat' in config.get('encoder', {}) else {}
  yield {}
  if recompute:
    yield recompute
  shards = 2
  while shards <= devices:
    if devices % shards == 0:
      yield recompute | {'train.fsdp': shards}
    shards *= 2


def _microbatches(batch_size: int, devices: int) -> list[int]:
  """0, which is the whole batch, and its halves, quarters, ... that the devices divide."""
  sizes, size = [0], batch_size // 2
  while size >= LEAST * devices and batch_size % size == 0 and size % devices == 0:
    sizes.append(size)
    size //= 2
  return sizes


def _changed(config: ConfigDict, changes: dict[str, object]) -> ConfigDict:
  config = copy.deepcopy(config)
  config.update_from_flattened_dict(changes)
  return config
