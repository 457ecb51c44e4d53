"""MaskGIT's VQGAN: `tokenizer_imagenet256`.

The code is github.com/google-research/maskgit, in Flax Linen: `encoder`, `decoder` and `quantizer`. Their layers are
unnamed, so Flax numbers the layers of each class in the order in which they are called (`ResBlock_0`, `Conv_1`, ...).
The checkpoint is Flax's msgpack of `{'params': ...}`.

The numbers are tested against Flax's own. Not verified, as the file was not available: the names `ResBlock`,
`GroupNorm`, `quantizer` and `codebook`, that all arrays are under `params`, and that there are no others.
"""

import numpy as np

from maskrep.errors import ConfigError
from maskrep.weights import files, peers
from maskrep.weights.formats import channels, vqgan
from maskrep.weights.formats.torch_vit import count
from maskrep.weights.pretrained import ForeignNetwork, encoder_only
from maskrep.weights.strict import need

KINDS = ('vqgan',)
SUFFIXES = ('.msgpack',)
LICENCE = 'Apache 2.0, if it is from google-research/maskgit'
# Cannot be inferred from the arrays.
FIXED = {'design': 'maskgit', 'input_range': (0.0, 1.0), 'groups': vqgan.GROUPS, 'attention_levels': ()}

PARTS = {'norm1': 'GroupNorm_0', 'conv1': 'Conv_0', 'norm2': 'GroupNorm_1', 'conv2': 'Conv_1', 'shortcut': 'Conv_2'}


def to_foreign(arrays, config):
  modules = module_names(config)
  return {renamed(name, modules): np.array(value) for name, value in arrays.items()}


def from_foreign(state, config, wanted):
  modules = module_names(config)
  return {name: np.asarray(state[renamed(name, modules)], np.float32) for name in wanted}


def read(what, path, options):
  channels.refuse(options)
  state = files.read(path, '.msgpack')  # the authors' file has no suffix
  return ForeignNetwork(state, 'vqgan', sizes(what, state), vqgan.PREPROCESSING, {'licence': LICENCE})


def write(path, state, pretrained, run):
  encoder_only('maskgit', run)
  vqgan.refuse_others('maskgit', FIXED, pretrained.config)
  files.write_msgpack(path, state)
  return path


def peer(state, config, side):
  raise peers.PeerMissing("MaskGIT's code is not a package, and no library has its tokenizer; compare the outputs for "
                          'a known image')


def sizes(what, state):
  """The fields of the tokenizer, inferred from the number of its arrays and their shapes.

  Raises:
    ConfigError: an array is missing, or the number of layers is not that of such a tokenizer.
  """
  channels = need(what, state, 'params.encoder.Conv_0.kernel', 4).shape[-1]
  levels = count('params.decoder.Conv_{}', state) - 1
  # As many blocks in the middle as in each level.
  blocks = {side: count(f'params.{side}.ResBlock_{{}}', state) for side in ('encoder', 'decoder')}
  if levels < 1 or any(not number or number % (levels + 1) for number in blocks.values()):
    raise ConfigError(f'{what}: its {blocks["encoder"]} and {blocks["decoder"]} blocks do not make {levels} levels of '
                      'a MaskGIT VQGAN and a middle; give a checkpoint of that code')
  blocks = {side: number // (levels + 1) for side, number in blocks.items()}
  firsts = [f'params.encoder.ResBlock_{i * blocks["encoder"]}.Conv_0.kernel' for i in range(levels)]
  widths = [need(what, state, name, 4).shape[-1] for name in firsts]
  codes, embedding = need(what, state, 'params.quantizer.codebook', 2).shape
  return FIXED | {
    'channels': channels, 'multipliers': vqgan.multipliers(what, channels, widths),
    'encoder_blocks': blocks['encoder'], 'decoder_blocks': blocks['decoder'], 'embedding': embedding,
    'codebook_size': codes}


def module_names(config) -> dict[str, str]:
  """Our name of each module -> theirs, numbered in the order in which each side calls them."""
  levels = range(len(config['multipliers']))
  middle, of_level = {}, {}
  for side in ('encoder', 'decoder'):
    blocks = range(config[f'{side}_blocks'])
    middle[side] = [f'middle_block{j}' for j in blocks]
    of_level[side] = [[f'level{i}_block{j}' for j in blocks] for i in levels]
  layers = {
    'encoder': {'ResBlock': sum(of_level['encoder'], []) + middle['encoder'], 'Conv': ['conv_in', 'conv_out']},
    'decoder': {'ResBlock': middle['decoder'] + sum(reversed(of_level['decoder']), []),
                'Conv': ['conv_in', *(f'level{i}_up' for i in reversed(levels[1:])), 'conv_out']},
  }
  modules = {'codebook': 'quantizer.codebook'}
  for side, classes in layers.items():
    for kind, ours in (classes | {'GroupNorm': ['norm_out']}).items():
      modules |= {f'{side}.{name}': f'{side}.{kind}_{n}' for n, name in enumerate(ours)}
  return modules


def renamed(name: str, modules: dict[str, str]) -> str:
  """Our name of an array -> theirs."""
  module, _, leaf = name.rpartition('.')
  if not module:
    return f'params.{modules[leaf]}'
  place, _, part = module.rpartition('.')
  module = modules.get(module) or f'{modules[place]}.{PARTS[part]}'
  return f'params.{module}.{leaf}'
