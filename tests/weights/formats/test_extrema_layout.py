"""ExtreMA's checkpoints against a re-implementation of its encoder in PyTorch."""

import numpy as np
import pytest

from maskrep.cli import export, import_weights
from maskrep.models.position import resampling_matrix, sincos
from maskrep.weights import files, native
from tests.support.encoders import CAIT, pretrained, proof, run

torch = pytest.importorskip('torch')
pytestmark = pytest.mark.usefixtures('torchvision')
F = torch.nn.functional


def reimplemented(state, images, heads):
  """Arrays by the names in `module.momentum_encoder`, NCHW images -> (class token, patches)."""
  p = {name: torch.from_numpy(np.array(value)) for name, value in state.items()}
  linear = lambda x, name: F.linear(x, p[f'{name}.weight'], p[f'{name}.bias'])  # noqa: E731
  norm = lambda x, name: F.layer_norm(x, x.shape[-1:], p[f'{name}.weight'], p[f'{name}.bias'], 1e-6)  # noqa: E731
  mlp = lambda x, at: linear(F.gelu(linear(x, f'{at}.mlp.fc1')), f'{at}.mlp.fc2')  # noqa: E731

  def attention(q, k, v):
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)

  weight = p['patch_embed.proj.weight']
  x = F.conv2d(images, weight, p['patch_embed.proj.bias'], stride=weight.shape[-1]).flatten(2).mT + p['pos_embed']
  for i in range(sum(name.startswith('blocks.') and name.endswith('norm1.weight') for name in p)):
    at = f'blocks.{i}'
    q, k, v = linear(norm(x, f'{at}.norm1'), f'{at}.attn.qkv').chunk(3, -1)
    x = x + linear(attention(q, k, v), f'{at}.attn.proj')
    x = x + mlp(norm(x, f'{at}.norm2'), at)
  cls = p['cls_token'].expand(len(x), -1, -1)
  for i in range(2):
    at = f'blocks_token.{i}'
    y = norm(torch.cat([cls, x], 1), f'{at}.norm1')
    y = attention(linear(y[:, :1], f'{at}.attn.q'), linear(y, f'{at}.attn.k'), linear(y, f'{at}.attn.v'))
    cls = cls + p[f'{at}.gamma_1'] * linear(y, f'{at}.attn.proj')
    cls = cls + p[f'{at}.gamma_2'] * mlp(norm(cls, f'{at}.norm2'), at)
  return norm(cls, 'norm')[:, 0].numpy(), norm(x, 'norm').numpy()


def positioned(state, positions):
  return state | {'pos_embed': positions[None].astype(np.float32)}


@pytest.mark.parametrize('order', ['columns first', pytest.param('rows first', marks=pytest.mark.slow)])
def test_equals_the_reimplementation_and_keeps_positions_of_any_order(order, tmp_path):
  """MoCo v3's code, which others build on, swaps rows and columns in its positions."""
  native.save(tmp_path / 'made', pretrained('cait', CAIT))
  run(export, workdir=tmp_path / 'made', format='extrema', output=tmp_path / 'made.pth.tar')
  state = {name.removeprefix('state_dict.module.momentum_encoder.'): value
           for name, value in files.read(tmp_path / 'made.pth.tar').items()}
  assert state['pos_embed'].shape == (1, 9, 24), 'no slot for the class token'
  swapped = sincos((3, 3), 24).reshape(3, 3, 24).swapaxes(0, 1).reshape(9, 24)
  if order == 'rows first':
    state = positioned(state, swapped)
  # As released: the teacher with its head, the student, the predictor, the optimiser's state.
  head = {f'head.{i}.{leaf}': np.ones(3, np.float32) for i in (0, 1, 3, 4, 6) for leaf in ('weight', 'bias')}
  contents = {f'module.momentum_encoder.{name}': value for name, value in (state | head).items()}
  contents |= {'module.base_encoder.cls_token': state['cls_token'], 'module.predictor.0.weight': head['head.0.weight']}
  files.write_torch(tmp_path / 'w.pth.tar', {
    'epoch': 300, 'arch': 'vit_small', 'state_dict': contents, 'optimizer': {'state': {0: {'step': 1}}}})
  run(import_weights, format='extrema', input=tmp_path / 'w.pth.tar', output=tmp_path / 'ours', heads=3)
  proof(tmp_path / 'ours')
  ours = native.load('', tmp_path / 'ours')
  assert ours.config['positions'] == ('sincos' if order == 'columns first' else 'learned')
  for side in (12, 20):
    images = np.random.default_rng(1).normal(size=(2, side, side, 3)).astype(np.float32)
    new = (side // 4, side // 4)
    there = sincos(new, 24) if order == 'columns first' else resampling_matrix(new, (3, 3)) @ swapped
    with torch.no_grad():
      cls, patches = reimplemented(positioned(state, there), torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), 3)
    got = ours.encode(images)
    difference = max(np.abs(got['cls'] - cls).max(), np.abs(got['patches'] - patches).max())
    print(f'{order}, {side} pixels: {difference:.1e}')
    assert difference < 1e-4 and np.abs(cls).max() > 0.5
