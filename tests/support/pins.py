"""Figures of 20 steps that may only change on purpose: python -m tests.support.pins writes them anew.

Per shrunk training config: the names, types and shapes of the first state, the sum of its absolute values, and losses.
"""

import hashlib
import json
from pathlib import Path
from unittest import mock

if __name__ == '__main__':
  import tests.conftest  # noqa: F401  its flags of XLA, before jax is imported: small steps at high rates are chaotic

import jax
from ml_collections import ConfigDict
import numpy as np

from maskrep.devices.mesh import global_batch, make_mesh
from tests.support.stored import opened

STEPS = 20
FILE = Path(__file__).parent / 'pins.json'


def random_weights(what, path, tokenizer, wanted):
  """In place of `load_tokenizer`: no tokenizer has to be trained first."""
  random = np.random.default_rng(0)
  return jax.tree.map(lambda leaf: random.normal(0, 0.3, leaf.shape).astype(leaf.dtype), wanted)


def measure(config: ConfigDict) -> dict:
  """Trains a shrunk config for 20 steps of one device."""
  with mock.patch('maskrep.experiment.opened.load_tokenizer', random_weights):
    found = opened(config)
  program = found.experiment.program(len(found.loader.source), make_mesh(devices=jax.devices()[:1]))
  state = program.init()
  leaves = {jax.tree_util.keystr(path, simple=True, separator='.'): np.asarray(leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(state)}
  layout = ''.join(f'{name} {leaf.dtype} {leaf.shape}\n' for name, leaf in sorted(leaves.items()))
  pins = {'leaves': hashlib.sha256(layout.encode()).hexdigest()[:16],
          'mass': float(sum(np.abs(leaf.astype(np.float64)).sum() for leaf in leaves.values())), 'losses': []}
  step = program.lower(found.experiment.data.canvas).compile()
  for t in range(STEPS):
    local = found.loader[t]
    del local['broken']
    state, metrics = step(state, global_batch(program.mesh, local), found.frozen)
    pins['losses'].append(float(metrics['loss']))
  return pins


def main() -> None:
  from tests.long.test_configs import CONFIGS, load, made
  from tests.support.tiny import shrink

  FILE.write_text(json.dumps({path.stem: measure(shrink(made(load(path)))) for path in CONFIGS}, indent=1) + '\n')


if __name__ == '__main__':
  main()
