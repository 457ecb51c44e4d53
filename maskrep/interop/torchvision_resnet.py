"""Weights of a `maskrep.models.resnet.ResNet` under torchvision's names, which timm's ResNets share.

A backbone has no classifier and no count of batches: `fc.*` and `*.num_batches_tracked` are not ours.
"""

from collections.abc import Mapping
import re
from typing import Any

import numpy as np

LEAVES = {  # of a norm: our collection and name
  'weight': ('params', 'scale'), 'bias': ('params', 'bias'),
  'running_mean': ('batch_stats', 'mean'), 'running_var': ('batch_stats', 'var'),
}
NAMES = {leaf: name for name, (_, leaf) in LEAVES.items()}
SHORTCUT = {'shortcut_conv': 'downsample.0', 'shortcut_bn': 'downsample.1'}


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
      if re.fullmatch(r'fc\.(weight|bias)|.+\.num_batches_tracked', key):
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
