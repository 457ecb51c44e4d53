"""`maskrep.load`: what it reads, what it refuses, and that its features are those that are evaluated."""

import dataclasses
import subprocess
import sys

import jax
import numpy as np
from PIL import Image
import pytest

import maskrep
from maskrep.cli import export
from maskrep.configs import msn_digits, vqgan_digits
from maskrep.data.datasets import Data, open_source
from maskrep.errors import ConfigError, DataError
from maskrep.evaluation.encoders import StoredEncoder
from maskrep.evaluation.encoding import Encoding
from maskrep.evaluation.evaluator import Evaluator
from maskrep.experiment import stored
from maskrep.weights import native
from maskrep.workdir.config import load_config
from tests.support.encoders import VIT, pretrained, run
from tests.support.stored import store
from tests.support.tiny import shrink

COMPILED = '/jax/core/compile/backend_compile_duration'


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  """A run whose student and teacher differ."""
  folder = tmp_path_factory.mktemp('run')
  store(shrink(msn_digits.get_config()), folder)
  return folder


@pytest.fixture(scope='module')
def encoder(workdir):
  return maskrep.load(workdir)


@pytest.fixture
def compilations():
  found = []
  listener = lambda event, duration, **_: found.append(event) if event == COMPILED else None  # noqa: E731
  jax.monitoring.register_event_duration_secs_listener(listener)
  yield found
  jax.monitoring.unregister_event_duration_listener(listener)


def digits(count: int) -> list[np.ndarray]:
  source = open_source(Data(source='digits', train_split='train', eval_split='test', download=False, canvas=8,
                            threads=1, max_broken_fraction=0.0, stall_timeout_s=60), 'test')
  return [source[i].image for i in range(count)]


def test_import_is_light():
  """And a room that has a public name does not hide it: importing one sets it as an attribute."""
  program = """if True:
    import sys, maskrep
    assert not {'jax', 'numpy'} & sys.modules.keys()
    assert set(maskrep.__all__) == set(maskrep.MODULES) < set(dir(maskrep))
    import maskrep.train.loop, maskrep.evaluation.features
    assert not [name for name in maskrep.__all__ if isinstance(getattr(maskrep, name), type(sys))]
    maskrep.load = sys
    assert maskrep.load.__name__ == 'load'
    """
  subprocess.run([sys.executable, '-c', program], check=True)
  assert maskrep.__version__
  with pytest.raises(AttributeError, match='has no attribute'):
    maskrep.nothing  # noqa: B018


def test_features_are_those_that_are_evaluated(workdir, encoder):
  found, _ = stored.pretrained('', workdir)
  encoding = Encoding(network='ema', pooling='', layers=1, size=0, batch_size=64)
  stored_encoder = StoredEncoder(what='', pretrained=found, encoding=encoding, dtype=np.float32)
  evaluator = Evaluator.stored(
    workdir, stored_encoder, Data(**load_config(workdir)['data']), seed=0, load_objective=None)
  out = encoder(digits(359), batch_size=64)
  np.testing.assert_allclose(out['representation'], evaluator.features(evaluator.eval).features, rtol=1e-6, atol=1e-6)
  assert encoder.digest == stored_encoder.digest and encoder.width == out['cls'].shape[1] == out['patches'].shape[2]
  assert not np.allclose(maskrep.load(workdir, network='online')(digits(1))['cls'], out['cls'][:1], atol=1e-3)


def test_a_second_call_compiles_nothing(workdir, compilations):
  encoder = maskrep.load(workdir)
  encoder(digits(30), batch_size=8)
  assert compilations
  del compilations[:]
  encoder(digits(8), batch_size=8)
  encoder(digits(3), batch_size=8)
  assert encoder(digits(43), batch_size=8)['cls'].shape == (43, 16)
  assert not compilations
  encoder(digits(3))  # 4 at once
  del compilations[:]
  encoder(digits(4))
  assert not compilations


def test_images_of_any_kind_are_one_image(encoder, tmp_path):
  pixels = digits(1)[0]
  paths = [tmp_path / name for name in ('b.png', 'a.png')]
  for path in paths:
    Image.fromarray(pixels).save(path)
  three = np.repeat(pixels[..., None], 3, -1)
  given = [paths[0], str(paths[1]), paths[0].read_bytes(), Image.open(paths[0]), pixels, three, jax.numpy.array(three)]
  out = encoder([*given, *[given[3]] * 3])
  for name in ('cls', 'patches', 'representation'):
    np.testing.assert_array_equal(out[name], out[name][:1].repeat(10, 0))
  assert out['names'].tolist() == [*map(str, paths), *(f'image {i}' for i in range(2, 10))]
  for one in (pixels, three, paths[0], given[3], three[None]):
    np.testing.assert_allclose(encoder(one)['cls'], out['cls'][:1], atol=1e-5)
  folder = encoder(tmp_path)
  assert folder['names'].tolist() == sorted(map(str, paths))
  np.testing.assert_allclose(folder['patches'], out['patches'][:2], atol=1e-5)


def test_a_folder_of_16_bits_has_one_range(encoder, tmp_path):
  """As `Folder` has, so that a dark image stays dark; alone, it has its own."""
  for name, most in (('bright', 4000), ('dark', 500)):
    Image.fromarray(np.linspace(0, most, 64).reshape(8, 8).astype(np.uint16)).save(tmp_path / f'{name}.png')
  files = [tmp_path / 'bright.png', tmp_path / 'dark.png']
  folder, alone = encoder(tmp_path)['cls'], encoder(files)['cls']
  np.testing.assert_allclose(folder[0], alone[0], atol=1e-5)
  scaled = [Image.fromarray((np.asarray(Image.open(file)) >> 4).astype(np.uint8)) for file in files]
  np.testing.assert_allclose(folder, encoder(scaled)['cls'], atol=1e-5)
  assert np.abs(folder[1] - alone[1]).max() > 1e-3


def test_masked_images_and_other_sizes(encoder):
  images = digits(3)
  whole, order = encoder(images), np.argsort(np.random.default_rng(0).random((3, 16)))
  np.testing.assert_allclose(encoder(images, keep_idx=order)['cls'], whole['cls'], atol=1e-5)
  masked = encoder(images, keep_idx=order[:, :5])
  assert masked['patches'].shape == (3, 5, 16) and np.abs(masked['cls'] - whole['cls']).max() > 1e-3
  np.testing.assert_allclose(encoder(images[:1], keep_idx=order[:1, :5])['cls'], masked['cls'][:1], atol=1e-5)
  assert encoder(images, size=8)['patches'].shape == (3, 4, 16)


@pytest.mark.parametrize(('given', 'error', 'said'), [
  (dict(images=[]), ValueError, 'there are none'),
  (dict(images=None), TypeError, 'is of type NoneType'),
  (dict(images=[3]), TypeError, 'number 0 is of type int'),
  (dict(images=np.zeros((8, 8), np.float32)), DataError, 'image 0: cannot be read .* float32'),
  (dict(images=[np.zeros((8, 8), np.uint8), '/no/such.jpg']), DataError, 'No such file .*/no/such.jpg'),
  (dict(images=digits(2), batch_size=0), ValueError, 'batch_size=0: must be a multiple'),
  (dict(images=digits(2), size=10), ValueError, 'size=10: must be a multiple of the patches of 4'),
  (dict(images=digits(2), keep_idx=[[0]]), ValueError, r'keep_idx: is int64 \[1, 1\]; give integers \[2, K\]'),
  (dict(images=digits(1), keep_idx=[[16]]), ValueError, r'patches are numbered 0 \.\.\. 15')])
def test_images_and_arguments_that_cannot_be(encoder, given, error, said):
  with pytest.raises(error, match=said):
    encoder(**given)


def test_exports_and_imports_are_the_run_they_come_from(workdir, encoder, tmp_path):
  expected = encoder(digits(3))
  for name, what in (('w.npz', 'encoder'), ('w.safetensors', 'full')):
    run(export, workdir=workdir, format=name[2:], output=tmp_path / what / name, what=what)
    found = maskrep.load(tmp_path / what / name)
    assert found.digest == encoder.digest and found.canvas == encoder.canvas == 8
    np.testing.assert_array_equal(found(digits(3))['patches'], expected['patches'])
    assert repr(found) == repr(encoder)
  native.save(tmp_path / 'import', pretrained('vit', VIT | {'image_size': 32}))
  found = maskrep.load(tmp_path / 'import')
  assert found.canvas == 512 and found(digits(1))['cls'].shape == (1, 24) and 'step' not in repr(found)
  native.save(tmp_path / 'resnet', pretrained('resnet', {'depth': 18, 'width': 1 / 16, 'stem': 'small'}))
  found = maskrep.load(tmp_path / 'resnet')
  assert found.width == 32 and found(digits(2))['patches'].shape == (2, 16, 32)
  with pytest.raises(ValueError, match='a resnet sees all pixels'):
    found(digits(2), keep_idx=[[0], [0]])


def test_what_is_no_encoder_is_told_in_one_line(workdir, tmp_path):
  store(shrink(vqgan_digits.get_config()), tmp_path / 'vqgan')
  native.save(tmp_path / 'import', pretrained('vit', VIT))
  native.save(tmp_path / 'unknown', dataclasses.replace(pretrained('vit', VIT), preprocessing=None))
  np.savez(tmp_path / 'alone.npz', a=np.zeros(3))
  (tmp_path / 'notes.txt').touch()
  (tmp_path / 'empty').mkdir()
  cases = {
    'nowhere': 'does not exist', 'empty': 'holds no run and no import', 'notes.txt': 'is not one of .safetensors, .npz',
    'alone.npz': 'has no alone.json beside it', 'vqgan': 'holds a tokenizer, and no encoder',
    'unknown': 'does not say how images are prepared'}
  for name, said in cases.items():
    with pytest.raises(ConfigError, match=said) as caught:
      maskrep.load(tmp_path / name)
    message = str(caught.value)
    assert message.startswith(repr(str(tmp_path / name))) and '\n' not in message and '--' not in message, message
  for path in ('import', 'import/encoder.safetensors'):
    with pytest.raises(ConfigError, match='leave the network at ema'):
      maskrep.load(tmp_path / path, network='online')
  with pytest.raises(ValueError, match="network='teacher': must be one of ema, online"):
    maskrep.load(workdir, network='teacher')
  with pytest.raises(ValueError, match="dtype='half'"):
    maskrep.load(workdir, dtype='half')
