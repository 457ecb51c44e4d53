"""ViTs out to the real classes of other libraries, and in from them."""

import json

import numpy as np
import pytest

from maskrep import export, import_weights
from maskrep.interop import own
from maskrep.interop.pretrained import IMAGENET, Pretrained, initial

torch = pytest.importorskip('torch')
pytestmark = pytest.mark.usefixtures('torchvision')

CONFIG = {'patch_size': 4, 'width': 24, 'depth': 2, 'heads': 3, 'mlp_ratio': 2.0, 'image_size': 12}
NAMES = {'timm': 'w.safetensors', 'hf_msn': 'w', 'msn': 'w.pth.tar', 'safetensors': 'w.safetensors', 'npz': 'w.npz'}


def random(kind, config, seed=0):
  """Arrays whose features depend on all of them."""
  generator = np.random.default_rng(seed)
  return {name: (value + generator.normal(0, 0.2, value.shape)).astype(np.float32)
          for name, value in initial(kind, config).items()}


@pytest.fixture
def folder(tmp_path):
  """An encoder as an import leaves it."""
  own.save(tmp_path / 'ours', Pretrained(
    kind='vit', config=CONFIG, arrays=random('vit', CONFIG), preprocessing=IMAGENET | {'size': 12},
    source={'licence': 'none'}))
  return tmp_path / 'ours'


def run(command, **flags):
  assert command.main(['', *(f'--{name}={value}' for name, value in flags.items())]) == 0


@pytest.mark.parametrize('name', NAMES)
def test_out_and_in_is_the_same_bits_and_certified(name, folder, tmp_path):
  path = tmp_path / 'out' / NAMES[name]
  run(export, workdir=folder, format=name, output=path)
  proof = json.loads(((path if name == 'hf_msn' else path.parent) / 'parity.json').read_text())
  if name in ('safetensors', 'npz'):
    assert not proof['verified'] and proof['status'].startswith('not verified: these are our own names')
  else:
    assert proof['verified'] and list(proof['max_abs_difference']) == ['12', '16']
    assert max(proof['max_abs_difference'].values()) < 1e-4 and min(proof['max_abs_feature'].values()) > 0.5
    print(name, proof['status'])
  run(import_weights, format=name, input=path, output=tmp_path / 'back', heads=3)
  ours, back = own.load('', folder), own.load('', tmp_path / 'back')
  assert back.config == ours.config and back.arrays.keys() == ours.arrays.keys()
  images = np.random.default_rng(1).normal(size=(2, 16, 16, 3)).astype(np.float32)
  for part, features in ours.encode(images).items():
    np.testing.assert_array_equal(features, back.encode(images)[part])
