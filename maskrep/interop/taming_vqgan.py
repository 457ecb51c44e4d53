"""Weights of a 'taming' `maskrep.models.vqgan.VQGAN` under the authors' names, as in `vqgan_imagenet_f16_1024.ckpt`.

The code is github.com/CompVis/taming-transformers; its checkpoints are PyTorch Lightning's, with these names under
`state_dict` and, under `loss.*`, the discriminator and the perceptual loss, which are not of the tokenizer. Names and
shapes are tested against the VQGAN of Transformers' Janus, which comes from that code; the published file was not at
hand. If it holds objects of Lightning, then `files.read` refuses it, and its `state_dict` must be saved alone first.
"""

from collections.abc import Mapping
import re
from typing import Any

from flax import traverse_util
import numpy as np

from maskrep.errors import ConfigError

# Ours: theirs; # is a number. Both count levels from the largest, in the decoder too.
PLACES = {
  'encoder.level#_block#': 'encoder.down.#.block.#',
  'encoder.level#_attention#': 'encoder.down.#.attn.#',
  'encoder.level#_down': 'encoder.down.#.downsample.conv',
  'decoder.level#_block#': 'decoder.up.#.block.#',
  'decoder.level#_attention#': 'decoder.up.#.attn.#',
  'decoder.level#_up': 'decoder.up.#.upsample.conv',
} | {
  f'{side}.{ours}': f'{side}.{theirs}' for side in ('encoder', 'decoder') for ours, theirs in (
    ('middle_block0', 'mid.block_1'), ('middle_attention', 'mid.attn_1'), ('middle_block1', 'mid.block_2'),
    ('conv_in', 'conv_in'), ('norm_out', 'norm_out'), ('conv_out', 'conv_out'))
} | {name: name for name in ('quant_conv', 'post_quant_conv')}
PARTS = {name: name for name in ('norm1', 'conv1', 'norm2', 'conv2', 'norm', 'q', 'k', 'v')} | {
  'shortcut': 'nin_shortcut', 'proj': 'proj_out'}
CODEBOOK = 'quantize.embedding.weight'


def to_foreign(params: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Arrays by the authors' names, without `state_dict.`; kernels are [out, in, h, w]."""
  state = {}
  for name, leaf in traverse_util.flatten_dict(params, sep='.').items():
    array = np.asarray(leaf)
    if name == 'codebook':
      state[CODEBOOK] = array
      continue
    module, _, kind = name.rpartition('.')
    if kind == 'kernel':
      array = np.ascontiguousarray(array.transpose(3, 2, 0, 1))
    state[f'{_rename(module, PLACES, PARTS)}.{"bias" if kind == "bias" else "weight"}'] = array
  return state


def from_foreign(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """The inverse: arrays by the authors' names, or all of a checkpoint, whose names start with `state_dict.` -> params.

  Raises:
    ConfigError: a name that is not of this tokenizer.
  """
  if any(name.startswith('state_dict.') for name in state):
    state = {name.removeprefix('state_dict.'): array for name, array in state.items() if name.startswith('state_dict.')}
  params = {}
  for name, array in state.items():
    if name.startswith('loss.'):
      continue
    if name == CODEBOOK:
      params['codebook'] = array
      continue
    module, _, kind = name.rpartition('.')
    ours = _rename(module, {b: a for a, b in PLACES.items()}, {b: a for a, b in PARTS.items()})
    if ours is None or kind not in ('weight', 'bias'):
      raise ConfigError(f'{name!r}: is no name of a taming VQGAN; give a checkpoint of that code')
    if kind == 'weight' and array.ndim == 4:
      params[f'{ours}.kernel'] = np.ascontiguousarray(array.transpose(2, 3, 1, 0))
    else:
      params[f'{ours}.{"bias" if kind == "bias" else "scale"}'] = array
  return traverse_util.unflatten_dict(params, sep='.')


def _rename(module: str, places: Mapping[str, str], parts: Mapping[str, str]) -> str | None:
  """The other side's name of a module, None where it has none: a place, or a part of a place."""
  place, _, part = module.rpartition('.')
  for name, suffix in ((module, ''), (place, f'.{parts[part]}' if part in parts else None)):
    for pattern, target in places.items():
      found = re.fullmatch(re.escape(pattern).replace(r'\#', r'(\d+)'), name)
      if found and suffix is not None:
        for number in found.groups():
          target = target.replace('#', number, 1)
        return target + suffix
  return None
