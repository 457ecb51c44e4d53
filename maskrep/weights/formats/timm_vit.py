"""timm's `VisionTransformer`, without its classifier: a state dict in safetensors.

Without a class token it is `VisionTransformer(class_token=False, global_pool='avg', fc_norm=False)`: by default timm
applies the final norm to the average, while we apply it to each patch.
"""

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
  config = torch_vit.vit_sizes(
    what, torch_vit.NAMES, state, options.heads, class_token=torch_vit.ENDS['cls'] in state)
  return ForeignNetwork(state, 'vit', config, *timm_config.beside(what, path, r'vit_.*|deit_.*'))


def peer(state, config, side):
  return model(state, config, side).peer


def model(state, config, side):
  """timm's class with these arrays, for square images of `side` pixels."""
  timm, slots = peers.library('timm'), int(config['class_token'])
  layers = timm.models.VisionTransformer(
    side, config['patch_size'], num_classes=0, embed_dim=config['width'], depth=config['depth'],
    num_heads=config['heads'], mlp_ratio=config['mlp_ratio'], class_token=bool(slots),
    global_pool='token' if slots else 'avg', fc_norm=False)
  layers.load_state_dict(peers.tensors(peers.positioned(state, config, side, class_slot=slots)))
  layers.forward = layers.forward_features  # all tokens, which `forward_head` pools
  how = '' if slots else "(class_token=False, global_pool='avg', fc_norm=False)"
  return peers.TorchModel(
    f'timm {timm.__version__}, VisionTransformer{how}', layers.eval(),
    lambda out: {'cls': layers.forward_head(out), 'patches': out[:, slots:]})
