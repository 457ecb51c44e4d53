"""A ResNet under torchvision's names, which timm's ResNets share.

`fc.*` and `*.num_batches_tracked` are left out: our backbone has no classifier and does not count batches.
"""

import re

from maskrep.errors import ConfigError
from maskrep.models.resnet import BOTTLENECK, STAGES
from maskrep.weights import files, names, peers
from maskrep.weights.formats import channels, timm_config, torch_state
from maskrep.weights.pretrained import ForeignNetwork
from maskrep.weights.strict import need

KINDS = ('resnet',)
SUFFIXES = ('.safetensors',)
write = torch_state.writer('torchvision')

NOT_OURS = re.compile(r'fc\.(weight|bias)|.+\.num_batches_tracked')
SHORTCUT = {'shortcut_conv': 'downsample.0', 'shortcut_bn': 'downsample.1'}


def to_foreign(arrays, config):
  return names.renamed(theirs, arrays)


def from_foreign(state, config, wanted):
  return names.renamed_back(theirs, state, wanted)


def read(what, path, options):
  state = {name: value for name, value in files.read(path).items() if not NOT_OURS.fullmatch(name)}
  state = channels.three(what, state, 'conv1.weight', options)
  # ResNets with other pooling have the same arrays; timm's config.json distinguishes them.
  return ForeignNetwork(state, 'resnet', sizes(what, state), *timm_config.beside(what, path, r'resnet\d+'))


def peer(state, config, side):
  return load_peer(state, config, lambda name: name)


def load_peer(state, config, rename):
  """torchvision's model with the arrays of `state`, whose names are `rename(torchvision's name)`."""
  torchvision, torch = peers.library('torchvision'), peers.library('torch')
  if (config['width'], config['stem']) != (1.0, 'imagenet'):
    raise peers.PeerMissing(f'torchvision has no ResNet of width {config["width"]} with the {config["stem"]} stem, '
                            'only of width 1.0 with the imagenet stem')
  resnet = torchvision.models.resnet
  block = resnet.Bottleneck if BOTTLENECK[config['depth']] else resnet.BasicBlock
  model = resnet.ResNet(block, list(STAGES[config['depth']]))
  model.fc = torch.nn.Identity()
  wanted = [name for name in model.state_dict() if not NOT_OURS.fullmatch(name)]
  model.load_state_dict(peers.tensors({name: state[rename(name)] for name in wanted}))
  layers = torch.nn.Sequential(*list(model.eval().children())[:-2])  # without the mean and the classifier
  run = peers.forward(layers)

  def features(images):
    maps = run(images)
    return {'cls': maps.mean((2, 3)), 'patches': maps.reshape(*maps.shape[:2], -1).swapaxes(1, 2)}

  return f'torchvision {torchvision.__version__}, ResNet-{config["depth"]}', features


def sizes(what, state):
  """Depth, width and stem, inferred from the arrays.

  Raises:
    ConfigError: an array is missing, or no ResNet here has such stages.
  """
  width, _, kernel, _ = need(what, state, 'conv1.weight', 4).shape
  stages = tuple(len({name.split('.')[1] for name in state if name.startswith(f'layer{i}.')}) for i in range(1, 5))
  bottleneck = 'layer1.0.conv3.weight' in state
  for depth in STAGES:
    if (STAGES[depth], BOTTLENECK[depth]) == (stages, bottleneck):
      return {'depth': depth, 'width': width / 64, 'stem': 'imagenet' if kernel == 7 else 'small'}
  raise ConfigError(f'{what}: has stages of {stages} blocks, and the ResNets here are those of '
                    f'{", ".join(map(str, STAGES))} layers; choose one of them')


def theirs(name: str) -> str:
  """Our name of an array -> theirs."""
  *modules, leaf = name.split('.')
  modules = [SHORTCUT.get(module, re.sub(r'^(layer\d)_', r'\1.', module)) for module in modules]
  return '.'.join([*modules, names.LEAVES[leaf]])
