"""timm's `Cait`, without its classifier: a state dict in safetensors.

Our trunk has neither talking heads nor LayerScale, unless it was imported with them. So load an exported file into
`Cait(..., attn_block=timm.layers.Attention)`; the LayerScale of its trunk is 1.
"""

import numpy as np

from maskrep.errors import ConfigError
from maskrep.models.position import sincos
from maskrep.weights import files, names, peers
from maskrep.weights.formats import channels, timm_config, torch_state, torch_vit
from maskrep.weights.pretrained import ForeignNetwork
from maskrep.weights.strict import need

KINDS = ('cait',)
SUFFIXES = ('.safetensors',)
write = torch_state.writer('timm_cait')


def table(class_blocks: str) -> names.Table:
  """The table of names, with the class-attention blocks called `class_blocks`."""
  attention: dict[str, str | tuple[str, ...]] = {
    f'class_{ours}': theirs.replace('blocks', class_blocks) for ours, theirs in torch_vit.BLOCKS.items()}
  attention['class_block{}.attn.qkv'] = tuple(f'{class_blocks}.{{}}.attn.{part}' for part in 'qkv')
  scales = {f'{kind}block{{}}.scale{i}': f'{blocks}.{{}}.gamma_{i}'
            for kind, blocks in (('', 'blocks'), ('class_', class_blocks)) for i in (1, 2)}
  talking = {'block{}.attn.talk_before': 'blocks.{}.attn.proj_l', 'block{}.attn.talk_after': 'blocks.{}.attn.proj_w'}
  return torch_vit.NAMES | attention | scales | talking


NAMES = table('blocks_token_only')


def to_foreign(arrays, config):
  return names.to_foreign(NAMES, units(config) | with_positions(arrays, config))


def from_foreign(state, config, wanted):
  return names.from_foreign(NAMES, state, wanted)


def read(what, path, options):
  state = {name: value for name, value in files.read(path).items() if not name.startswith('head.')}
  state = channels.three(what, state, 'patch_embed.proj.weight', options)
  config = sizes(what, NAMES, state, options.heads)
  return ForeignNetwork(state, 'cait', config, *timm_config.beside(what, path, r'cait_.*'))


def peer(state, config, side):
  return model(state, config, side).peer


def model(state, config, side):
  """timm's class with these arrays, for square images of `side` pixels."""
  timm = peers.library('timm')
  attention = timm.models.cait.TalkingHeadAttn if config['talking_heads'] else timm.layers.Attention
  layers = timm.models.cait.Cait(
    side, config['patch_size'], num_classes=0, global_pool='', embed_dim=config['width'], depth=config['depth'],
    num_heads=config['heads'], mlp_ratio=config['mlp_ratio'], mlp_ratio_token_only=config['mlp_ratio'],
    depth_token_only=config['class_depth'], attn_block=attention)
  layers.load_state_dict(peers.tensors(peers.positioned(state, config, side, class_slot=0)))
  return peers.TorchModel(f'timm {timm.__version__}, Cait with {attention.__name__}', layers.eval(), peers.tokens)


def units(config):
  """A LayerScale of 1 for blocks that have none."""
  depths = {'': config['depth']} if not config['trunk_scale'] else {}
  depths |= {'class_': config['class_depth']} if not config['layer_scale'] else {}
  return {f'{kind}block{i}.scale{j}': np.ones(config['width'], np.float32)
          for kind, depth in depths.items() for i in range(depth) for j in (1, 2)}


def with_positions(arrays, config):
  """The arrays with fixed positions, which our module computes and theirs stores.

  Raises:
    ConfigError: the encoder does not have class attention.
  """
  if config['instance'] != 'class_attention':
    raise ConfigError(f'--workdir: its encoder.instance is {config["instance"]!r}, and these formats have class '
                      'attention; choose --format=saved_model, safetensors or npz')
  grid = config['image_size'] // config['patch_size']
  return arrays if config['positions'] == 'learned' else arrays | {'pos': sincos((grid, grid), config['width'])}


def sizes(what, table, state, heads):
  """The fields of our module, inferred from the arrays. Drops positions that it computes, and a LayerScale of 1."""
  if talking_heads := 'blocks.0.attn.proj_l.weight' in state:
    heads = len(need(what, state, 'blocks.0.attn.proj_l.weight', 2))
  vit = torch_vit.sizes(what, table, state, heads, class_slot=0)
  grid, width = vit['image_size'] // vit['patch_size'], vit['width']
  pos = state['pos_embed'][0]
  fixed = width % 4 == 0 and pos.shape[1] == width and np.allclose(pos, sincos((grid, grid), width), atol=1e-5)
  class_blocks = table['class_block{}.norm1'].partition('.')[0]
  scale = {kind: float(any((value != 1).any() for name, value in state.items()
                           if name.startswith(f'{kind}.') and '.gamma_' in name)) for kind in ('blocks', class_blocks)}
  return vit | {
    'class_depth': torch_vit.count(table['class_block{}.norm1'], state), 'instance': 'class_attention',
    'layer_scale': scale[class_blocks], 'trunk_scale': scale['blocks'], 'positions': 'sincos' if fixed else 'learned',
    'talking_heads': talking_heads}
