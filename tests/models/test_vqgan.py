"""The VQGAN tokenizer: both designs against PyTorch, the nearest code against float64, sizes, gradients."""

import dataclasses
import functools
import math

from flax.traverse_util import flatten_dict
from hypothesis import given
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskrep.configs.base.vqgan import vqgan_f16
from maskrep.models.discriminator import PatchDiscriminator
from maskrep.models.vqgan import VQGAN, code_scores, straight_through
from maskrep.weights.formats import taming_vqgan
from tests.support.encoders import PUBLISHED

SHARED = dict(channels=16, multipliers=(1, 1, 2), encoder_blocks=2, embedding=12, codebook_size=23, groups=8)
TINY = {
  'taming': VQGAN(**SHARED, decoder_blocks=3, input_range=(-1.0, 1.0), design='taming', attention_levels=(2,)),
  'maskgit': VQGAN(**SHARED, decoder_blocks=2, input_range=(0.0, 1.0), design='maskgit'),
}
SIZES = [(16, 16), (24, 36)]


def images(h=16, w=16, b=2):
  return jnp.asarray(np.random.default_rng(1).uniform(size=(b, h, w, 3)), jnp.float32)


def randomised(module, *arguments):
  """Every parameter random; those that multiply are scaled so that signals neither vanish nor grow."""
  rng = np.random.default_rng(0)

  def draw(path, leaf):
    name = path[-1].key
    scale = math.prod(leaf.shape[:-1]) ** -0.5 if name == 'kernel' else 0.5 if name == 'codebook' else 0.3
    return jnp.asarray(rng.normal(name == 'scale', scale, leaf.shape), leaf.dtype)

  return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(module.init, jax.random.key(0), *arguments))


@functools.cache
def jitted(model, method=None):
  """A function (variables, input) -> what the method makes of it."""
  return jax.jit(lambda variables, x: model.apply(variables, x, method=method))


class Peer:
  """Both designs once more, in PyTorch and NCHW, as functions of the tree of parameters."""

  def __init__(self, variables, model):
    self.torch = pytest.importorskip('torch')
    self.params = jax.tree.map(lambda leaf: self.torch.from_numpy(np.array(leaf)), variables['params'])
    self.model, self.taming = model, model.design == 'taming'

  def conv(self, p, x, stride=1):
    kernel = p['kernel'].permute(3, 2, 0, 1)
    padding = kernel.shape[-1] // 2 if stride == 1 else 0
    return self.torch.nn.functional.conv2d(x, kernel, p.get('bias'), stride, padding)

  def norm(self, p, x):
    return self.torch.nn.functional.group_norm(x, self.model.groups, p['scale'], p['bias'], 1e-6)

  def residual(self, p, x):
    y = x
    for i in '12':
      y = self.norm(p[f'norm{i}'], y)
      y = self.conv(p[f'conv{i}'], y * y.sigmoid())
    if 'shortcut' not in p:
      return x + y
    return y + self.conv(p['shortcut'], x if self.taming else y)

  def attention(self, p, x):
    y = self.norm(p['norm'], x)
    q, k, v = (self.conv(p[name], y).flatten(2) for name in 'qkv')
    weights = self.torch.softmax(self.torch.einsum('bci,bcj->bij', q, k) * x.shape[1] ** -0.5, dim=2)
    return x + self.conv(p['proj'], self.torch.einsum('bij,bcj->bci', weights, v).reshape(x.shape))

  def level(self, p, i, x):
    for j in range(sum(name.startswith(f'level{i}_block') for name in p)):
      x = self.residual(p[f'level{i}_block{j}'], x)
      if self.taming and i == 2:
        x = self.attention(p[f'level{i}_attention{j}'], x)
    return x

  def middle(self, p, x):
    x = self.residual(p['middle_block0'], x)
    x = self.attention(p['middle_attention'], x) if self.taming else x
    return self.residual(p['middle_block1'], x)

  def out(self, p, x):
    x = self.norm(p['norm_out'], x)
    return self.conv(p['conv_out'], x * x.sigmoid())

  def encode(self, images):
    p = self.params['encoder']
    x = self.torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)
    x = self.conv(p['conv_in'], 2 * x - 1 if self.taming else x)
    for i in range(3):
      x = self.level(p, i, x)
      if i < 2 and self.taming:
        x = self.conv(p[f'level{i}_down'], self.torch.nn.functional.pad(x, (0, 1, 0, 1)), stride=2)
      elif i < 2:
        x = self.torch.nn.functional.avg_pool2d(x, 2)
    x = self.out(p, self.middle(p, x))
    x = self.conv(self.params['quant_conv'], x) if self.taming else x
    return x.permute(0, 2, 3, 1)

  def ids(self, z):
    codebook = self.params['codebook']
    return self.torch.cdist(z.flatten(0, 2).double(), codebook.double()).argmin(1).reshape(z.shape[:3])

  def decode(self, codes):
    p = self.params['decoder']
    x = codes.permute(0, 3, 1, 2)
    x = self.conv(self.params['post_quant_conv'], x) if self.taming else x
    x = self.middle(p, self.conv(p['conv_in'], x))
    for i in (2, 1, 0):
      x = self.level(p, i, x)
      if i:
        x = self.conv(p[f'level{i}_up'], self.torch.nn.functional.interpolate(x, scale_factor=2, mode='nearest'))
    x = self.out(p, x).permute(0, 2, 3, 1)
    return (x + 1) / 2 if self.taming else x


@pytest.fixture(scope='module', params=TINY)
def tiny(request):
  model = TINY[request.param]
  return model, randomised(model, images())


@pytest.mark.parametrize('size', SIZES)
def test_designs_are_those_of_pytorch(size, tiny):
  model, variables = tiny
  peer, x = Peer(variables, model), images(*size)
  z = jitted(model, 'encode')(variables, x)
  ids = jitted(model, 'ids')(variables, x)
  made = jitted(model, 'decode')(variables, ids)
  with peer.torch.no_grad():
    want = peer.encode(x)
    want_ids = peer.ids(want)
    want_made = peer.decode(peer.params['codebook'][want_ids])
  np.testing.assert_array_equal(ids, want_ids)
  apart = [np.abs(np.asarray(a) - b.numpy()).max() for a, b in ((z, want), (made, want_made))]
  print(f'{model.design} {size}: encoder {apart[0]:.1e}, decoder {apart[1]:.1e}, {len(np.unique(ids))} ids used')
  assert z.shape == (2, size[0] // 4, size[1] // 4, 12) and made.shape == x.shape
  assert np.std(z) > 0.1 and np.std(made) > 0.1 and len(np.unique(ids)) > 3
  assert max(apart) < 1e-4


def test_taming_is_the_tokenizer_of_janus(torchvision):
  """Transformers' Janus has a VQGAN of the same design, with attention in the smallest level."""
  janus = pytest.importorskip('transformers.models.janus.modeling_janus')
  import torch

  config = janus.JanusVQVAEConfig(
    base_channels=32, channel_multiplier=[1, 2], num_res_blocks=2, latent_channels=12, embed_dim=12, num_embeddings=23,
    in_channels=3, out_channels=3, double_latent=False, num_patches=6, dropout=0.0)
  model = VQGAN(channels=32, multipliers=(1, 2), encoder_blocks=2, decoder_blocks=3, embedding=12, codebook_size=23,
                input_range=(-1.0, 1.0), design='taming', attention_levels=(1,))
  x = images(12, 12)
  variables = randomised(model, x)
  ours = flatten_dict(variables['params'], sep='.')
  state = taming_vqgan.flipped(taming_vqgan.to_foreign(ours, {}), 1)
  peer = janus.JanusVQVAE(config).eval()
  peer.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in state.items()})
  assert peer.state_dict().keys() == state.keys()
  z = jitted(model, 'encode')(variables, x)
  codes, ids = jitted(model, 'quantise')(variables, z)
  with torch.no_grad():
    seen = torch.from_numpy(np.array(2 * x - 1)).permute(0, 3, 1, 2)
    want = peer.quant_conv(peer.encoder(seen)).permute(0, 2, 3, 1)
    want_ids = peer.encode(seen, return_dict=True).image_tokens.reshape(2, 6, 6)
    grid = torch.from_numpy(np.array(codes)).permute(0, 3, 1, 2)
    made = (peer.decoder(peer.post_quant_conv(grid)).permute(0, 2, 3, 1) + 1) / 2
  np.testing.assert_array_equal(ids, want_ids)
  apart = np.abs(z - want.numpy()).max(), np.abs(jitted(model, 'decode')(variables, codes) - made.numpy()).max()
  print(f'Janus: encoder {apart[0]:.1e}, decoder {apart[1]:.1e}')
  assert max(apart) < 1e-4


def test_the_config_is_the_published_tokenizer():
  assert VQGAN(**vqgan_f16()) == PUBLISHED['vqgan_imagenet_f16_1024']


@pytest.mark.parametrize(('name', 'model'), PUBLISHED.items())
def test_published_sizes_make_a_grid_of_16_by_16(name, model):
  x = jax.ShapeDtypeStruct((2, 256, 256, 3), jnp.float32)
  variables = jax.eval_shape(model.init, jax.random.key(0), x)
  see = lambda method, *a: jax.eval_shape(lambda v, *a: model.apply(v, *a, method=method), variables, *a)  # noqa: E731
  ids = see('ids', x)
  assert (ids.shape, ids.dtype, model.stride) == ((2, 16, 16), jnp.int32, 16)
  assert see('encode', x).shape == (2, 16, 16, 256)
  assert (see('decode', ids).shape, see(None, x).dtype) == ((2, 256, 256, 3), jnp.float32)
  params = variables['params']
  assert params['codebook'].shape == (1024, 256)
  print(f'{name}: {sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) / 1e6:.2f} M parameters')
  attention = [part for side in ('encoder', 'decoder') for part in params[side] if 'attention' in part]
  assert len(attention) == (2 + 1 + 3 + 1 if model.design == 'taming' else 0)
  biased = 'bias' in params['encoder']['level0_block0']['conv1'], 'bias' in params['encoder']['conv_in']
  assert biased == (model.design == 'taming',) * 2 and 'bias' in params['encoder']['conv_out']


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100), st.floats(-3, 3))
def test_code_is_the_nearest_in_float64(seed, scale, offset):
  rng = np.random.default_rng(seed)
  z = (scale * rng.normal(offset, 1, (3, 5, 7))).astype(np.float32)
  codebook = (scale * rng.normal(offset, 1, (11, 7))).astype(np.float32)
  distances = ((z[..., None, :].astype(np.float64) - codebook) ** 2).sum(-1)
  scores = np.asarray(code_scores(z, codebook))
  chosen = np.take_along_axis(distances, scores.argmax(-1)[..., None], -1)[..., 0]
  # Two codes may be equally near but for round-off.
  np.testing.assert_allclose(chosen, distances.min(-1), atol=1e-5 * scale**2 * (1 + offset**2))
  gaps = scores - scores.max(-1, keepdims=True) + distances
  np.testing.assert_allclose(gaps, np.broadcast_to(gaps[..., :1], gaps.shape), atol=1e-4 * scale**2 * (1 + offset**2))


def test_quantise_picks_codes_and_lets_the_gradient_through(tiny):
  model, variables = tiny
  z = jnp.asarray(np.random.default_rng(2).normal(size=(2, 3, 5, 12)), jnp.float32)
  codes, ids = jitted(model, 'quantise')(variables, z)
  np.testing.assert_allclose(codes, variables['params']['codebook'][ids], atol=1e-6)
  assert ids.dtype == jnp.int32
  weights = jnp.asarray(np.random.default_rng(3).normal(size=z.shape), jnp.float32)
  gradient = jax.jit(jax.grad(lambda z: (weights * model.apply(variables, z, method='quantise')[0]).sum()))(z)
  np.testing.assert_array_equal(gradient, weights)
  to_codes = jax.jit(jax.grad(lambda c: (weights * straight_through(z, c)).sum()))(codes)
  np.testing.assert_array_equal(to_codes, np.zeros_like(to_codes))


def test_calling_it_reconstructs(tiny):
  model, variables = tiny
  x = images()
  ids = jitted(model, 'ids')(variables, x)
  codes = jitted(model, 'quantise')(variables, jitted(model, 'encode')(variables, x))[0]
  want = jitted(model, 'decode')(variables, codes)
  np.testing.assert_allclose(jitted(model)(variables, x), want, atol=1e-5)
  np.testing.assert_allclose(jitted(model, 'decode')(variables, ids), want, atol=1e-4)


def test_bfloat16_returns_float32(tiny):
  model, variables = dataclasses.replace(tiny[0], dtype=jnp.bfloat16), tiny[1]
  z = jitted(model, 'encode')(variables, images())
  assert z.dtype == jax.eval_shape(model.apply, variables, images()).dtype == jnp.float32
  exact = jitted(tiny[0], 'encode')(variables, images())
  assert 1e-4 < np.abs(z - exact).max() < 0.3


@pytest.mark.parametrize('size', [(18, 16), (16, 18), (2, 2)])
def test_other_sizes_are_refused(size, tiny):
  model, variables = tiny
  with pytest.raises(ValueError, match=f'{size[0]}x{size[1]} is not a multiple of the stride 4'):
    jitted(model, 'ids')(variables, images(*size))


@pytest.mark.parametrize(('field', 'value', 'match'), [
  ('design', 'vqgan', 'must be one of taming, maskgit'), ('attention_levels', (2,), 'has no attention'),
  ('groups', 32, 'groups')])
def test_what_cannot_be_built_is_refused(field, value, match):
  with pytest.raises(ValueError, match=match):
    dataclasses.replace(TINY['maskgit'], **{field: value})


def test_discriminator_sees_patches_of_one_image():
  module = PatchDiscriminator(width=8, layers=2, groups=4)
  variables = randomised(module, images())
  x = images(16, 24)
  logits = jitted(module)(variables, x)
  assert logits.shape == (2, 4, 6) and logits.dtype == jnp.float32
  np.testing.assert_allclose(jitted(module)(variables, x[1:]), logits[1:], atol=1e-5)
