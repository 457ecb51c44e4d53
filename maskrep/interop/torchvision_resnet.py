"""Weights of a `maskrep.models.resnet.ResNet` under torchvision's names, which timm's ResNets share.

A backbone has no classifier and no count of batches: `fc.*` and `*.num_batches_tracked` are not ours.
"""

from collections.abc import Mapping
import re
from typing import Any

import numpy as np

from maskrep.errors import ConfigError
from maskrep.interop import channels, files, peers
from maskrep.interop.pretrained import IMAGENET, Found, encoder_only, flat, variables
from maskrep.interop.strict import need
from maskrep.models.resnet import BOTTLENECK, STAGES

KINDS = ('resnet',)
SUFFIXES = ('.safetensors',)
LICENCE = 'BSD 3-clause, where it is from torchvision'

LEAVES = {  # of a norm: our collection and name
  'weight': ('params', 'scale'), 'bias': ('params', 'bias'),
  'running_mean': ('batch_stats', 'mean'), 'running_var': ('batch_stats', 'var'),
}
NAMES = {leaf: name for name, (_, leaf) in LEAVES.items()}
NOT_OURS = re.compile(r'fc\.(weight|bias)|.+\.num_batches_tracked')
SHORTCUT = {'shortcut_conv': 'downsample.0', 'shortcut_bn': 'downsample.1'}


def to_foreign(arrays, config):
  trees = variables(arrays)
  return to_torchvision(trees['params'], trees['batch_stats'])


def from_foreign(state, config, wanted):
  return {name: value.astype(np.float32) for name, value in flat(*from_torchvision(state)).items()}


def read(what, path, asked):
  state = {name: value for name, value in files.read(path).items() if not NOT_OURS.fullmatch(name)}
  state = channels.three(what, state, 'conv1.weight', asked)
  return Found(state, 'resnet', sizes(what, state), IMAGENET, {'licence': LICENCE})


def write(path, state, pretrained, run):
  encoder_only('torchvision', run)
  files.write_safetensors(path, state, {'format': 'pt'})
  return path


def peer(state, config, side):
  return running(state, config, lambda name: name)


def running(state, config, theirs):
  """torchvision's model with the arrays that are called `theirs(torchvision's name)`."""
  torchvision, torch = peers.library('torchvision'), peers.library('torch')
  if (config['width'], config['stem']) != (1.0, 'imagenet'):
    raise peers.Absent(f'torchvision has no ResNet of width {config["width"]} with the {config["stem"]} stem, only of '
                       'width 1.0 with the imagenet stem')
  resnet = torchvision.models.resnet
  block = resnet.Bottleneck if BOTTLENECK[config['depth']] else resnet.BasicBlock
  model = resnet.ResNet(block, list(STAGES[config['depth']]))
  model.fc = torch.nn.Identity()
  names = [name for name in model.state_dict() if not NOT_OURS.fullmatch(name)]
  model.load_state_dict(peers.tensors({name: state[theirs(name)] for name in names}))
  layers = torch.nn.Sequential(*list(model.eval().children())[:-2])  # without the mean and the classifier
  run = peers.forward(layers)

  def features(images):
    maps = run(images)
    return {'cls': maps.mean((2, 3)), 'patches': maps.reshape(*maps.shape[:2], -1).swapaxes(1, 2)}

  return f'torchvision {torchvision.__version__}, ResNet-{config["depth"]}', features


def sizes(what, state):
  """Depth, width and stem, by the shapes.

  Raises:
    ConfigError: an array that tells them is missing, or no ResNet has such stages.
  """
  width, _, kernel, _ = need(what, state, 'conv1.weight', 4).shape
  stages = tuple(len({name.split('.')[1] for name in state if name.startswith(f'layer{i}.')}) for i in range(1, 5))
  bottleneck = 'layer1.0.conv3.weight' in state
  for depth in STAGES:
    if (STAGES[depth], BOTTLENECK[depth]) == (stages, bottleneck):
      return {'depth': depth, 'width': width / 64, 'stem': 'imagenet' if kernel == 7 else 'small'}
  raise ConfigError(f'{what}: has stages of {stages} blocks, and the ResNets here are those of '
                    f'{", ".join(map(str, STAGES))} layers; choose one of them')


def to_torchvision(params: Mapping[str, Any], batch_stats: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Weights and running statistics as float32 arrays by torchvision's names; kernels are [out, in, h, w]."""
  state = {}
  for tree in (params, batch_stats):
    for path, leaf in _leaves(tree):
      *modules, name = path
      module = '.'.join(SHORTCUT.get(part, re.sub(r'^(layer\d)_', r'\1.', part)) for part in modules)
      array = np.array(leaf)
      if name == 'kernel':
        state[f'{module}.weight'] = np.ascontiguousarray(array.transpose(3, 2, 0, 1))
      else:
        state[f'{module}.{NAMES[name]}'] = array
  return state


def from_torchvision(state: Mapping[str, Any]) -> tuple[dict, dict]:
  """The inverse: arrays (NumPy's or CPU tensors) by torchvision's names -> (params, batch_stats).

  Raises:
    ValueError: a name that is not of a ResNet.
  """
  trees = {'params': {}, 'batch_stats': {}}
  for key, value in state.items():
    found = re.fullmatch(
      r'(?:(layer[1-4])\.(\d+)\.)?(conv\d|bn\d|downsample\.[01])\.(weight|bias|running_mean|running_var)', key)
    if not found:
      if NOT_OURS.fullmatch(key):
        continue
      raise ValueError(f'{key!r} is not a name of a torchvision ResNet')
    stage, block, module, name = found.groups()
    array = np.array(value)
    module = {theirs: ours for ours, theirs in SHORTCUT.items()}.get(module, module)
    if 'conv' in module:
      collection, name, array = 'params', 'kernel', np.ascontiguousarray(array.transpose(2, 3, 1, 0))
    else:
      collection, name = LEAVES[name]
    tree = trees[collection]
    if stage:
      tree = tree.setdefault(f'{stage}_{block}', {})
    tree.setdefault(module, {})[name] = array
  return trees['params'], trees['batch_stats']


def _leaves(tree, path=()):
  for name, value in tree.items():
    if isinstance(value, Mapping):
      yield from _leaves(value, (*path, name))
    else:
      yield (*path, name), value
