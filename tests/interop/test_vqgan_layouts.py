"""Names of the published tokenizers: through a file and back is the same bits, and the other code computes the same.

The names of taming are also tested against Janus, see tests/models/test_vqgan.py.
"""

from flax import linen as nn
from flax import serialization, traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskrep.errors import ConfigError
from maskrep.interop import files, maskgit_vqgan, taming_vqgan
from maskrep.models.tokenizers import TOKENIZERS
from tests.models.test_vqgan import SIZES, TINY, Peer, images, randomised

LAYOUTS = {'taming': taming_vqgan, 'maskgit': maskgit_vqgan}


@pytest.fixture(scope='module', params=LAYOUTS)
def tokenizer(request):
  model = TINY[request.param]
  return model, randomised(model, images()), LAYOUTS[request.param]


def stored(model, state, folder):
  """A file as the authors write theirs."""
  if model.design == 'taming':
    loss = {'loss.discriminator.main.0.weight': np.zeros((4, 3, 2, 2))}
    files.write_torch(folder / 'last.ckpt', {'epoch': 3, 'state_dict': state | loss,
                                             'optimizer_states': [{'state': {0: {'exp_avg': np.zeros(3)}}}]})
    return folder / 'last.ckpt'
  nested = traverse_util.unflatten_dict(state, sep='.')
  (folder / 'tokenizer.msgpack').write_bytes(serialization.msgpack_serialize(nested))
  return folder / 'tokenizer.msgpack'


def same(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  jax.tree.map(np.testing.assert_array_equal, a, b)


def apart(a, b):
  return float(np.abs(np.asarray(a) - np.asarray(b)).max())


@pytest.mark.parametrize('size', SIZES)
def test_out_and_in_is_the_same_bits_and_the_same_function(size, tokenizer, tmp_path):
  pytest.importorskip('torch')
  model, variables, layout = tokenizer
  params = layout.from_foreign(files.read(stored(model, layout.to_foreign(variables['params']), tmp_path)))
  same(params, jax.tree.map(np.asarray, variables['params']))
  x, peer = images(*size), Peer({'params': params}, model)
  ids = model.apply(variables, x, method='ids')
  with peer.torch.no_grad():
    z = peer.encode(x)
    np.testing.assert_array_equal(ids, peer.ids(z))
    made = peer.decode(peer.params['codebook'][peer.ids(z)])
  differences = apart(model.apply(variables, x, method='encode'), z), apart(
    model.apply(variables, ids, method='decode'), made)
  print(f'{model.design} {size}: {differences}')
  assert max(differences) < 1e-4


@pytest.mark.parametrize('name', TOKENIZERS)
def test_the_published_sizes_have_as_many_names_as_arrays(name):
  model = TOKENIZERS[name].model
  shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 256, 256, 3)))['params']
  # Arrays that take no memory.
  params = jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), shapes)
  layout = LAYOUTS[model.design]
  state = layout.to_foreign(params)
  assert len(state) == len(jax.tree.leaves(params))
  back = layout.from_foreign(state)
  assert jax.tree.map(np.shape, back) == jax.tree.map(np.shape, params)
  for key, shape in {
    'vqgan_imagenet_f16_1024': {
      'encoder.conv_in.weight': (128, 3, 3, 3), 'encoder.down.4.attn.1.proj_out.weight': (512, 512, 1, 1),
      'encoder.down.3.downsample.conv.bias': (256,), 'decoder.up.4.upsample.conv.weight': (512, 512, 3, 3),
      'decoder.up.4.attn.2.q.bias': (512,), 'decoder.up.1.block.0.nin_shortcut.weight': (128, 256, 1, 1),
      'decoder.mid.attn_1.norm.weight': (512,), 'quantize.embedding.weight': (1024, 256)},
    'tokenizer_imagenet256': {
      'params.encoder.Conv_0.kernel': (3, 3, 3, 128), 'params.encoder.ResBlock_11.Conv_1.kernel': (3, 3, 512, 512),
      'params.encoder.Conv_1.kernel': (1, 1, 512, 256), 'params.decoder.Conv_5.bias': (3,),
      'params.decoder.ResBlock_4.Conv_2.kernel': (1, 1, 256, 256), 'params.quantizer.codebook': (1024, 256)},
  }[name].items():
    assert state[key].shape == shape, key


class ResBlock(nn.Module):
  """MaskGIT's, of layers without names."""

  features: int

  @nn.compact
  def __call__(self, x):
    y = x
    for _ in range(2):
      y = nn.swish(nn.GroupNorm(8, epsilon=1e-6, use_fast_variance=False)(y))
      y = nn.Conv(self.features, (3, 3), use_bias=False)(y)
    return y + (x if x.shape[-1] == self.features else nn.Conv(self.features, (1, 1), use_bias=False)(y))


class Side(nn.Module):
  widths: tuple
  output: int
  decodes: bool

  @nn.compact
  def __call__(self, x):
    x = nn.Conv(self.widths[-1] if self.decodes else self.widths[0], (3, 3), use_bias=self.decodes)(x)
    plan = list(enumerate(self.widths))
    middle = ('middle', self.widths[-1])
    for level, width in [middle, *reversed(plan)] if self.decodes else [*plan, middle]:
      for _ in range(2):
        x = ResBlock(width)(x)
      if self.decodes and level not in ('middle', 0):
        x = nn.Conv(width, (3, 3))(jnp.repeat(jnp.repeat(x, 2, 1), 2, 2))
      elif not self.decodes and level not in ('middle', len(plan) - 1):
        x = nn.avg_pool(x, (2, 2), (2, 2))
    x = nn.swish(nn.GroupNorm(8, epsilon=1e-6, use_fast_variance=False)(x))
    return nn.Conv(self.output, (3, 3) if self.decodes else (1, 1))(x)


class Quantizer(nn.Module):
  @nn.compact
  def __call__(self, ids):
    return self.param('codebook', nn.initializers.normal(), (23, 12))[ids]


class MaskGIT(nn.Module):
  """Its tokenizer's structure; Flax numbers the layers."""

  def setup(self):
    self.encoder, self.decoder = Side((16, 16, 32), 12, False), Side((16, 16, 32), 3, True)
    self.quantizer = Quantizer()

  def __call__(self, images, ids):
    return self.encoder(images), self.decoder(self.quantizer(ids))


@pytest.mark.parametrize('size', SIZES)
def test_names_of_maskgit_are_those_that_flax_gives(size, tmp_path):
  model, x = TINY['maskgit'], images(*size)
  ids = np.random.default_rng(0).integers(23, size=(2, size[0] // 4, size[1] // 4))
  theirs = randomised(MaskGIT(), x, ids)
  path = stored(model, traverse_util.flatten_dict(jax.tree.map(np.asarray, theirs), sep='.'), tmp_path)
  ours = {'params': maskgit_vqgan.from_foreign(files.read(path))}
  assert jax.tree.map(np.shape, ours) == jax.tree.map(np.shape, randomised(model, x))
  z, made = MaskGIT().apply(theirs, x, ids)
  differences = (apart(model.apply(ours, x, method='encode'), z), apart(model.apply(ours, ids, method='decode'), made))
  print(f'MaskGIT {size}: {differences}')
  assert max(differences) < 1e-4 and np.std(z) > 0.1
  back = traverse_util.unflatten_dict(maskgit_vqgan.to_foreign(ours['params']), sep='.')
  same(back, jax.tree.map(np.asarray, theirs))


@pytest.mark.parametrize(('change', 'said'), [
  ({'taming': 'encoder.down.0.block.0.conv3.weight', 'maskgit': 'params.encoder.Dense_0.kernel'}, 'is no name of'),
  ({'taming': 'stranger', 'maskgit': 'params.decoder.ResBlock_99.Conv_0.kernel'}, 'is no name of|do not make'),
  ({'taming': 'encoder.conv_in.running_mean', 'maskgit': 'params'}, 'is no name of'),
])
def test_strangers_are_refused(change, said, tokenizer):
  model, variables, layout = tokenizer
  with pytest.raises(ConfigError, match=said) as error:
    layout.from_foreign(layout.to_foreign(variables['params']) | {change[model.design]: np.zeros(1)})
  assert len(str(error.value).splitlines()) == 1


def test_no_weights_of_maskgit_are_refused():
  with pytest.raises(ConfigError, match='do not make'):
    maskgit_vqgan.from_foreign({'model.weight': np.zeros(1)})
