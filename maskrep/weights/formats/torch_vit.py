"""The names of a ViT's parts in DINO's code, which timm, facebookresearch/msn and ExtreMA follow."""

from collections.abc import Mapping
import math
import re

import numpy as np

from maskrep.errors import ConfigError
from maskrep.weights.bounds import MAX_SIDE
from maskrep.weights.names import Table
from maskrep.weights.strict import need

ENDS = {'cls': 'cls_token', 'pos': 'pos_embed', 'embed': 'patch_embed.proj', 'norm': 'norm'}
BLOCKS = {
  'block{}.norm1': 'blocks.{}.norm1', 'block{}.attn.qkv': 'blocks.{}.attn.qkv',
  'block{}.attn.proj': 'blocks.{}.attn.proj', 'block{}.norm2': 'blocks.{}.norm2',
  'block{}.mlp.fc1': 'blocks.{}.mlp.fc1', 'block{}.mlp.fc2': 'blocks.{}.mlp.fc2'}
NAMES = ENDS | BLOCKS

# The number of heads of the published ViTs, by width: Ti, S, B, L, H. It cannot be inferred from the arrays.
HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}


def sizes(
  what: str, table: Table, state: Mapping[str, np.ndarray], heads: int | None, *, class_slot: int = 1
) -> dict:
  """The fields of a ViT, inferred from the shapes of its arrays.

  Args:
    what: the flag and its value, for errors.
    table: the library's names.
    heads: number of heads, from the user or another file; None takes the number in `HEADS` for the width.
    class_slot: number of positions that belong to a class token.

  Raises:
    ConfigError: an array is missing, its shape is not that of a ViT, or the number of heads is unknown.
  """
  named = {ours: theirs for ours, theirs in table.items() if isinstance(theirs, str)}
  filters = need(what, state, f'{named["embed"]}.weight', 4)
  width, _, patch, other = filters.shape
  if patch != other:
    raise ConfigError(f'{what}: {named["embed"]}.weight is for patches of {patch} x {other}, and patches here are '
                      'square; choose other weights')
  positions = need(what, state, named['pos'], 3).shape[1] - class_slot
  grid = math.isqrt(max(positions, 0))
  if grid < 1 or grid**2 != positions:
    raise ConfigError(f'{what}: {named["pos"]} has {positions} patches, which is not a square; choose other weights')
  if grid * patch > MAX_SIDE:
    raise ConfigError(f'{what}: is for images of {grid * patch} pixels, and at most {MAX_SIDE} are supported; choose '
                      'other weights')
  hidden = need(what, state, named['block{}.mlp.fc1'].format(0) + '.weight', 2).shape[0]
  return {'patch_size': patch, 'width': width, 'depth': count(named['block{}.norm1'], state),
          'heads': _heads(what, width, heads), 'mlp_ratio': hidden / width, 'image_size': grid * patch}


def vit_sizes(
  what: str, table: Table, state: Mapping[str, np.ndarray], heads: int | None, *, class_token: bool = True
) -> dict:
  """`sizes` of a ViT with or without a class token."""
  return sizes(what, table, state, heads, class_slot=int(class_token)) | {'class_token': class_token}


def need_class_token(format_name: str, config: Mapping) -> None:
  """Raises ConfigError if an encoder has no class token, for a format whose models all have one."""
  if not config['class_token']:
    raise ConfigError(f'--format={format_name}: its models have a class token, and this encoder has none; choose '
                      '--format=timm, safetensors or npz')


def count(template: str, state: Mapping[str, np.ndarray]) -> int:
  """The number of blocks: of distinct indices, not the highest index, which a damaged name could set to anything."""
  pattern = re.compile(re.escape(template).replace(r'\{\}', r'(\d+)') + r'\..*')
  return len({match[1] for name in state if (match := pattern.fullmatch(name))})


def _heads(what: str, width: int, heads: int | None) -> int:
  heads = HEADS.get(width) if heads is None else heads
  if heads is None:
    raise ConfigError(f'{what}: its number of attention heads is not in the file, and not known for its width, {width}'
                      f'; give --heads, for example --heads={max(width // 64, 1)}')
  if heads < 1 or width % heads:
    raise ConfigError(f'--heads={heads}: must divide the width, {width}')
  return heads
