"""timm's `VisionTransformer` with a class token, without its classifier: a state dict in safetensors."""

from maskrep.weights import files, names, peers
from maskrep.weights.formats import channels, timm_config, torch_state, torch_vit
from maskrep.weights.pretrained import ForeignNetwork

KINDS = ('vit',)
SUFFIXES = ('.safetensors',)
write = torch_state.writer('timm')


def to_foreign(arrays, config):
  return names.to_foreign(torch_vit.NAMES, arrays)


def from_foreign(state, config, wanted):
  return names.from_foreign(torch_vit.NAMES, state, wanted)


def read(what, path, options):
  state = {name: value for name, value in files.read(path).items() if not name.startswith('head.')}
  state = channels.three(what, state, 'patch_embed.proj.weight', options)
  config = torch_vit.sizes(what, torch_vit.NAMES, state, options.heads)
  return ForeignNetwork(state, 'vit', config, *timm_config.beside(what, path, r'vit_.*|deit_.*'))


def peer(state, config, side):
  return model(state, config, side).peer


def model(state, config, side):
  """timm's class with these arrays, for square images of `side` pixels."""
  timm = peers.library('timm')
  layers = timm.models.VisionTransformer(
    side, config['patch_size'], num_classes=0, global_pool='', embed_dim=config['width'], depth=config['depth'],
    num_heads=config['heads'], mlp_ratio=config['mlp_ratio'])
  layers.load_state_dict(peers.tensors(peers.positioned(state, config, side, class_slot=1)))
  return peers.TorchModel(f'timm {timm.__version__}, VisionTransformer', layers.eval(), peers.tokens)
