"""Names of the published tokenizers against a re-implementation in PyTorch, and against Flax's own numbering.

Exporting and importing are tested in test_formats.py; taming's names against Janus in tests/models/test_vqgan.py too.
"""

import dataclasses

from flax import linen as nn
from flax.traverse_util import flatten_dict
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskrep.cli import import_weights
from maskrep.weights import files, native
from maskrep.weights.formats import maskgit_vqgan, taming_vqgan
from maskrep.weights.pretrained import IMAGENET, described, shapes, variables
from tests.models.test_vqgan import SIZES, TINY, Peer, images, jitted, randomised
from tests.support.encoders import PUBLISHED, run

LAYOUTS = {'taming': taming_vqgan, 'maskgit': maskgit_vqgan}
# Both codes have 32 groups.
MODELS = {name: dataclasses.replace(model, channels=32, groups=32) for name, model in TINY.items()}


@pytest.fixture(autouse=True)
def small_images(monkeypatch):
  monkeypatch.setattr('maskrep.weights.formats.vqgan.PREPROCESSING', dataclasses.replace(IMAGENET, size=32))


def apart(a, b):
  return float(np.abs(np.asarray(a) - np.asarray(b)).max())


@pytest.mark.parametrize('design', LAYOUTS)
def test_a_file_as_the_authors_write_theirs(design, tmp_path):
  pytest.importorskip('torch')
  model, layout = MODELS[design], LAYOUTS[design]
  params = jax.tree.map(np.asarray, randomised(model, images())['params'])
  state = layout.to_foreign(flatten_dict(params, sep='.'), described(model)[1])
  file = tmp_path / ('last.ckpt' if design == 'taming' else 'tokenizer.msgpack')
  if design == 'taming':
    loss = {'loss.discriminator.main.0.weight': np.zeros((4, 3, 2, 2))}
    files.write_torch(file, {'epoch': 3, 'state_dict': state | loss,
                             'optimizer_states': [{'state': {0: {'exp_avg': np.zeros(3)}}}]})
  else:
    files.write_msgpack(file, state)
    file = file.rename(file.with_suffix(''))  # as the authors name theirs
  run(import_weights, format=design, input=file, output=tmp_path / 'ours')
  ours = native.load('', tmp_path / 'ours')
  assert ours.config == described(model)[1]
  back = variables(ours.arrays)
  jax.tree.map(np.testing.assert_array_equal, back['params'], params)
  peer = Peer(back, model)
  for size in SIZES:
    x = images(*size)
    ids = jitted(model, 'ids')(back, x)
    with peer.torch.no_grad():
      z = peer.encode(x)
      np.testing.assert_array_equal(ids, peer.ids(z))
      made = peer.decode(peer.params['codebook'][peer.ids(z)])
    differences = apart(jitted(model, 'encode')(back, x), z), apart(jitted(model, 'decode')(back, ids), made)
    print(f'{design} {size}: {differences}')
    assert max(differences) < 1e-4


@pytest.mark.parametrize('name', PUBLISHED)
def test_the_published_sizes_have_as_many_names_as_arrays_and_are_inferred(name):
  kind, config = described(PUBLISHED[name])
  # Arrays that need no memory.
  arrays = {ours: np.broadcast_to(np.float32(0), shape) for ours, shape in shapes(kind, config).items()}
  layout = LAYOUTS[config['design']]
  state = layout.to_foreign(arrays, config)
  assert len(state) == len(arrays) and layout.sizes('', state) == config
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
  """MaskGIT's block of unnamed layers."""

  features: int

  @nn.compact
  def __call__(self, x):
    y = x
    for _ in range(2):
      y = nn.swish(nn.GroupNorm(32, epsilon=1e-6, use_fast_variance=False)(y))
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
    x = nn.swish(nn.GroupNorm(32, epsilon=1e-6, use_fast_variance=False)(x))
    return nn.Conv(self.output, (3, 3) if self.decodes else (1, 1))(x)


class Quantizer(nn.Module):
  @nn.compact
  def __call__(self, ids):
    return self.param('codebook', nn.initializers.normal(), (23, 12))[ids]


class MaskGIT(nn.Module):
  """The structure of its tokenizer; Flax numbers the layers."""

  def setup(self):
    self.encoder, self.decoder = Side((32, 32, 64), 12, False), Side((32, 32, 64), 3, True)
    self.quantizer = Quantizer()

  def __call__(self, images, ids):
    return self.encoder(images), self.decoder(self.quantizer(ids))


@pytest.mark.parametrize('size', SIZES)
def test_names_of_maskgit_are_those_that_flax_gives(size):
  model, x = MODELS['maskgit'], images(*size)
  ids = np.random.default_rng(0).integers(23, size=(2, size[0] // 4, size[1] // 4))
  theirs = jax.tree.map(np.asarray, randomised(MaskGIT(), x, ids))
  state, (kind, config) = flatten_dict(theirs, sep='.'), described(model)
  assert maskgit_vqgan.sizes('', state) == config
  ours = variables(maskgit_vqgan.from_foreign(state, config, shapes(kind, config)))
  z, made = MaskGIT().apply(theirs, x, ids)
  differences = (apart(model.apply(ours, x, method='encode'), z), apart(model.apply(ours, ids, method='decode'), made))
  print(f'MaskGIT {size}: {differences}')
  assert max(differences) < 1e-4 and np.std(z) > 0.1
  assert maskgit_vqgan.to_foreign(flatten_dict(ours['params'], sep='.'), config).keys() == state.keys()


@pytest.mark.parametrize(('design', 'extra', 'expected'), [
  ('taming', 'encoder.down.0.block.0.conv3.weight', 'unexpected: encoder.down.0.block.0.conv3.weight (near: '),
  ('taming', 'extra', 'unexpected: extra'),
  ('maskgit', 'params.encoder.Dense_0.kernel', 'unexpected: params.encoder.Dense_0.kernel'),
  ('maskgit', 'params.decoder.ResBlock_99.Conv_0.kernel', 'blocks do not make 3 levels of a MaskGIT VQGAN')])
def test_unexpected_arrays_are_refused(design, extra, expected, tmp_path, capsys):
  model = MODELS[design]
  kind, config = described(model)
  arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes(kind, config).items()}
  state = LAYOUTS[design].to_foreign(arrays, config) | {extra: np.zeros(1, np.float32)}
  if design == 'taming':
    pytest.importorskip('torch')
    files.write_torch(tmp_path / 'w.ckpt', state)
  else:
    files.write_msgpack(tmp_path / 'w.msgpack', state)
  (file,) = tmp_path.iterdir()
  run(import_weights, 2, format=design, input=file, output=tmp_path / 'out')
  assert expected in capsys.readouterr().err and not (tmp_path / 'out').exists()


def test_a_file_that_is_not_of_maskgit_is_refused(tmp_path, capsys):
  files.write_msgpack(tmp_path / 'w.msgpack', {'model.weight': np.zeros(1)})
  run(import_weights, 2, format='maskgit', input=tmp_path / 'w.msgpack', output=tmp_path / 'out')
  assert 'has no params.encoder.Conv_0.kernel' in capsys.readouterr().err
