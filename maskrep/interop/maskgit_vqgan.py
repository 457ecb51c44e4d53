"""Weights of a 'maskgit' `maskrep.models.vqgan.VQGAN` under MaskGIT's names, as in `tokenizer_imagenet256`.

The code is github.com/google-research/maskgit, in Flax Linen: `encoder`, `decoder` and `quantizer`, whose layers have
no names of their own, so that Flax numbers those of a class in the order in which they are called (`ResBlock_0`,
`Conv_1`, ...). Its checkpoint is Flax's msgpack of `{'params': ...}`; give it the suffix .msgpack.

What follows from that structure is tested against Flax's own numbering. What could not be verified without the file:
the names `ResBlock`, `GroupNorm`, `quantizer` and `codebook`, that all is under `params`, and that there is no more.
"""

from collections.abc import Mapping
from typing import Any

from flax import traverse_util
import numpy as np

from maskrep.errors import ConfigError

PARTS = {'norm1': 'GroupNorm_0', 'conv1': 'Conv_0', 'norm2': 'GroupNorm_1', 'conv2': 'Conv_1', 'shortcut': 'Conv_2'}


def to_foreign(params: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Arrays by MaskGIT's names, from `params.` on; no array changes."""
  flat = traverse_util.flatten_dict(params, sep='.')
  levels = 1 + len({name.split('.')[1] for name in flat if name.startswith('decoder.') and '_up.' in name})
  blocks = {side: len({name.split('.')[1] for name in flat if name.startswith(f'{side}.middle_block')})
            for side in ('encoder', 'decoder')}
  names = _names(levels, blocks)
  return {f'params.{_rename(name, names, PARTS)}': np.asarray(leaf) for name, leaf in flat.items()}


def from_foreign(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """The inverse: arrays by MaskGIT's names -> params.

  Raises:
    ConfigError: a name that is not of this tokenizer, or a number of layers that no such tokenizer has.
  """
  state = {name.removeprefix('params.'): array for name, array in state.items()}
  count = lambda start: len({name.split('.')[1] for name in state if name.startswith(start)})  # noqa: E731
  levels, blocks = count('decoder.Conv_') - 1, {}
  for side in ('encoder', 'decoder'):
    found = count(f'{side}.ResBlock_')
    # As many in the middle as in each level.
    if levels < 1 or not found or found % (levels + 1):
      raise ConfigError(f'{side}: its {found} blocks do not make {levels} levels of a MaskGIT VQGAN and a middle; give '
                        'a checkpoint of that code')
    blocks[side] = found // (levels + 1)
  names, parts = ({b: a for a, b in table.items()} for table in (_names(levels, blocks), PARTS))
  return traverse_util.unflatten_dict({_rename(name, names, parts): array for name, array in state.items()}, sep='.')


def _names(levels: int, blocks: Mapping[str, int]) -> dict[str, str]:
  """Ours: theirs, of modules, in the order in which each side calls them."""
  middle = {side: [f'middle_block{j}' for j in range(n)] for side, n in blocks.items()}
  down = [f'level{i}_block{j}' for i in range(levels) for j in range(blocks['encoder'])]
  up = [f'level{i}_block{j}' for i in reversed(range(levels)) for j in range(blocks['decoder'])]
  called = {
    'encoder': {'ResBlock': down + middle['encoder'], 'Conv': ['conv_in', 'conv_out']},
    'decoder': {'ResBlock': middle['decoder'] + up,
                'Conv': ['conv_in', *(f'level{i}_up' for i in reversed(range(1, levels))), 'conv_out']},
  }
  names = {'codebook': 'quantizer.codebook'}
  for side, classes in called.items():
    for kind, ours in (classes | {'GroupNorm': ['norm_out']}).items():
      names |= {f'{side}.{name}': f'{side}.{kind}_{n}' for n, name in enumerate(ours)}
  return names


def _rename(name: str, modules: Mapping[str, str], parts: Mapping[str, str]) -> str:
  """The other side's name of an array, of a module or of a part of a block."""
  if name in modules:
    return modules[name]
  module, _, kind = name.rpartition('.')
  place, _, part = module.rpartition('.')
  if module in modules:
    return f'{modules[module]}.{kind}'
  if place in modules and part in parts:
    return f'{modules[place]}.{parts[part]}.{kind}'
  raise ConfigError(f'{name!r}: is no name of a MaskGIT VQGAN; give a checkpoint of that code')
