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
  check_published(config)
  return model(state, config, side).peer


def check_published(config):
  """Raises PeerMissing if torchvision's function for this depth has another width or stem."""
  if (config['width'], config['stem']) != (1.0, 'imagenet'):
    raise peers.PeerMissing(f'torchvision has no ResNet of width {config["width"]} with the {config["stem"]} stem, '
                            'only of width 1.0 with the imagenet stem')


def model(state, config, side, rename=lambda name: name):
  """torchvision's class with these arrays, whose names are `rename(torchvision's name)`.

  If width or stem are not torchvision's, its layers are replaced by others of the same classes.
  """
  torchvision, nn = peers.library('torchvision'), peers.library('torch').nn
  resnet, stages = torchvision.models.resnet, STAGES[config['depth']]
  block = resnet.Bottleneck if BOTTLENECK[config['depth']] else resnet.BasicBlock
  layers = resnet.ResNet(block, list(stages))
  if config['width'] != 1:
    layers.inplanes = channels = round(64 * config['width'])
    layers.conv1, layers.bn1 = nn.Conv2d(3, channels, 7, 2, padding=3, bias=False), nn.BatchNorm2d(channels)
    for i, blocks in enumerate(stages):
      stage = layers._make_layer(block, channels * 2**i, blocks, stride=2 if i else 1)
      setattr(layers, f'layer{i + 1}', stage)
  if config['stem'] == 'small':
    layers.conv1 = nn.Conv2d(3, layers.bn1.num_features, 3, padding=1, bias=False)
    layers.maxpool = nn.Identity()
  layers.fc = nn.Identity()
  wanted = [name for name in layers.state_dict() if not NOT_OURS.fullmatch(name)]
  layers.load_state_dict(peers.tensors({name: state[rename(name)] for name in wanted}))
  layers = nn.Sequential(*list(layers.eval().children())[:-2])  # without the mean and the classifier
  return peers.TorchModel(f'torchvision {torchvision.__version__}, ResNet-{config["depth"]}', layers, peers.maps)


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
