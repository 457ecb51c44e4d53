"""taming-transformers' VQGAN: `vqgan_imagenet_f16_1024.ckpt`.

The code is github.com/CompVis/taming-transformers; its checkpoints are PyTorch Lightning's, with these names under
`state_dict`; the discriminator and the perceptual loss, under `loss.*`, are left out. Names and shapes are tested
against the VQGAN of Transformers' Janus, which comes from that code; the published file was not available. If it
contains objects of Lightning, `files.read` refuses it, and its `state_dict` must be saved alone first.
"""

import re

from maskrep.weights import files, names, peers
from maskrep.weights.formats import channels, vqgan
from maskrep.weights.formats.torch_vit import count
from maskrep.weights.pretrained import ForeignNetwork, encoder_only
from maskrep.weights.strict import need

KINDS = ('vqgan',)
SUFFIXES = ('.ckpt', '.pth', '.pt')
LICENCE = 'MIT, if it is from CompVis/taming-transformers'
# Cannot be inferred from the arrays.
FIXED = {'design': 'taming', 'input_range': (-1.0, 1.0), 'groups': vqgan.GROUPS}

# Our name: theirs; # is a number. Both number levels from the largest, in the decoder too.
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


def to_foreign(arrays, config):
  return names.renamed(theirs, arrays)


def from_foreign(state, config, wanted):
  return names.renamed_back(theirs, state, wanted)


def read(what, path, options):
  channels.refuse(options)
  state = files.read(path)
  state = names.without('state_dict.', state) or state
  state = {name: value for name, value in state.items() if not name.startswith('loss.')}
  return ForeignNetwork(state, 'vqgan', sizes(what, state), vqgan.PREPROCESSING, {'licence': LICENCE})


def write(path, state, pretrained, run):
  encoder_only('taming', run)
  vqgan.refuse_others('taming', FIXED, pretrained.config)
  files.write_torch(path, {'state_dict': state})
  return path


def peer(state, config, side):
  """The authors' code is not a package; Transformers' Janus has the same layers, numbered from the other end."""
  janus, torch = peers.library('transformers.models.janus.modeling_janus'), peers.library('torch')
  last = len(config['multipliers']) - 1
  if config['attention_levels'] != (last,) or config['decoder_blocks'] != config['encoder_blocks'] + 1:
    raise peers.PeerMissing('the VQGAN of Janus, used in its place, has attention in its smallest level alone, and '
                            'one block more in the decoder')
  model = janus.JanusVQVAE(janus.JanusVQVAEConfig(
    base_channels=config['channels'], channel_multiplier=list(config['multipliers']),
    num_res_blocks=config['encoder_blocks'], latent_channels=config['embedding'], embed_dim=config['embedding'],
    num_embeddings=config['codebook_size'], in_channels=3, out_channels=3, double_latent=False,
    num_patches=side >> last, dropout=0.0)).eval()
  model.load_state_dict(peers.tensors(flipped(state, last)))

  def run(images):
    with torch.no_grad():
      z = model.quant_conv(model.encoder(torch.from_numpy(2 * images.transpose(0, 3, 1, 2) - 1)))
      made = (model.decoder(model.post_quant_conv(z)) + 1) / 2
    return {'z': z.numpy().transpose(0, 2, 3, 1), 'decoded': made.numpy().transpose(0, 2, 3, 1)}

  version = peers.library('transformers').__version__
  return f'transformers {version}, JanusVQVAE in place of taming-transformers', run


def flipped(state, last):
  """The state with the decoder's levels numbered from the smallest, as in Janus."""
  return {re.sub(r'up\.(\d)', lambda i: f'up.{last - int(i[1])}', name): value for name, value in state.items()}


def sizes(what, state):
  """The fields of the tokenizer, inferred from the shapes of its arrays.

  Raises:
    ConfigError: an array is missing, or its shape is not that of such a tokenizer.
  """
  channels = need(what, state, 'encoder.conv_in.weight', 4).shape[0]
  levels = range(count('encoder.down.{}', state))
  widths = [need(what, state, f'encoder.down.{i}.block.0.conv1.weight', 4).shape[0] for i in levels]
  codes, embedding = need(what, state, CODEBOOK, 2).shape
  return FIXED | {
    'channels': channels, 'multipliers': vqgan.multipliers(what, channels, widths),
    'encoder_blocks': count('encoder.down.0.block.{}', state), 'decoder_blocks': count('decoder.up.0.block.{}', state),
    'embedding': embedding, 'codebook_size': codes,
    'attention_levels': tuple(i for i in levels if f'encoder.down.{i}.attn.0.q.weight' in state)}


def theirs(name: str) -> str:
  """Our name of an array -> theirs."""
  if name == 'codebook':
    return CODEBOOK
  module, _, leaf = name.rpartition('.')
  place, _, part = module.rpartition('.')
  module = _place(module) or f'{_place(place)}.{PARTS[part]}'
  return f'{module}.{"bias" if leaf == "bias" else "weight"}'


def _place(module):
  """Their name for one of `PLACES`, None if the module is not one of them."""
  for ours, place in PLACES.items():
    if match := re.fullmatch(re.escape(ours).replace(r'\#', r'(\d+)'), module):
      return place.replace('#', '{}').format(*match.groups())
  return None
