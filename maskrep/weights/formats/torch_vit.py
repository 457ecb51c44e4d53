"""What DINO's code calls the parts of a ViT; timm, facebookresearch/msn and ExtreMA follow it."""

from collections.abc import Mapping
import math
import re

import numpy as np

from maskrep.errors import ConfigError
from maskrep.weights.names import Table
from maskrep.weights.strict import need

ENDS: Table = {'cls': 'cls_token', 'pos': 'pos_embed', 'embed': 'patch_embed.proj', 'norm': 'norm'}
BLOCKS: Table = {
  'block{}.norm1': 'blocks.{}.norm1', 'block{}.attn.qkv': 'blocks.{}.attn.qkv',
  'block{}.attn.proj': 'blocks.{}.attn.proj', 'block{}.norm2': 'blocks.{}.norm2',
  'block{}.mlp.fc1': 'blocks.{}.mlp.fc1', 'block{}.mlp.fc2': 'blocks.{}.mlp.fc2'}
NAMES: Table = ENDS | BLOCKS

# Of the published ViTs, by width: Ti, S, B, L, H. No array tells how many heads there are.
HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}


def sizes(
  what: str, table: Table, state: Mapping[str, np.ndarray], heads: int | None, *, class_slot: int = 1,
  known: Mapping[int, int] = HEADS,
) -> dict:
  """The sizes of a ViT by the shapes of its arrays.

  Args:
    what: the flag and its value, for errors.
    table: their names.
    heads: as many as the user or another file says; None is as many as are `known` for the width.
    class_slot: positions that are the class token's.

  Raises:
    ConfigError: an array that tells them is missing or cannot be, or nothing says how many heads there are.
  """
  filters = need(what, state, f'{table["embed"]}.weight', 4)
  width, _, patch, other = filters.shape
  if patch != other:
    raise ConfigError(f'{what}: {table["embed"]}.weight is for patches of {patch} x {other}, and patches here are '
                      'square; choose other weights')
  positions = need(what, state, table['pos'], 3).shape[1] - class_slot
  grid = math.isqrt(max(positions, 0))
  if grid < 1 or grid**2 != positions:
    raise ConfigError(f'{what}: {table["pos"]} has {positions} patches, which is no square; choose other weights')
  hidden = need(what, state, table['block{}.mlp.fc1'].format(0) + '.weight', 2).shape[0]
  return {'patch_size': patch, 'width': width, 'depth': count(table['block{}.norm1'], state),
          'heads': _heads(what, width, heads, known), 'mlp_ratio': hidden / width, 'image_size': grid * patch}


def count(template: str, state: Mapping[str, np.ndarray]) -> int:
  """How many blocks there are: of different numbers, not the highest, which a damaged name could make anything."""
  pattern = re.compile(re.escape(template).replace(r'\{\}', r'(\d+)') + r'\..*')
  return len({found[1] for name in state if (found := pattern.fullmatch(name))})


def _heads(what: str, width: int, asked: int | None, known: Mapping[int, int]) -> int:
  found = known.get(width) if asked is None else asked
  if found is None:
    raise ConfigError(f'{what}: does not say how many attention heads there are, and neither does its width, {width}; '
                      f'give --heads, for example --heads={max(width // 64, 1)}')
  if found < 1 or width % found:
    raise ConfigError(f'--heads={found}: must divide the width, {width}')
  return found
