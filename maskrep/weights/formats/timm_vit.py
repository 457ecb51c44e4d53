"""timm's `VisionTransformer`, without its classifier: a state dict in safetensors.

Without a class token it is `VisionTransformer(class_token=False, global_pool='avg', fc_norm=False)`: by default timm
applies the final norm to the average, and we to each patch.
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
  timm, class_token = peers.library('timm'), config['class_token']
  model = timm.models.VisionTransformer(
    side, config['patch_size'], num_classes=0, embed_dim=config['width'], depth=config['depth'],
    num_heads=config['heads'], mlp_ratio=config['mlp_ratio'], class_token=class_token,
    global_pool='token' if class_token else 'avg', fc_norm=False)
  model.load_state_dict(peers.tensors(peers.positioned(state, config, side, class_slot=int(class_token))))
  model.eval()
  tokens, pooled = peers.forward(model.forward_features), peers.forward(model)
  how = '' if class_token else "(class_token=False, global_pool='avg', fc_norm=False)"
  return (f'timm {timm.__version__}, VisionTransformer{how}',
          lambda images: {'cls': pooled(images), 'patches': tokens(images)[:, int(class_token):]})
