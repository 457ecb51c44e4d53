"""ONNX files: ONNX Runtime computes what the encoder computes, for any number of images."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskrep.cli import export
from maskrep.errors import ConfigError
from maskrep.models.cait import CaiT
from maskrep.models.resnet import ResNet
from maskrep.models.vit import ViT
from maskrep.weights import native
from maskrep.weights.formats import onnx
from tests.support.encoders import RESNET, pretrained, run

SIZE = 32
TINY = dict(patch_size=8, width=24, depth=2, heads=3)
ENCODERS = {'vit': ViT(**TINY, image_size=40), 'cait': CaiT(**TINY), 'resnet': ResNet(18, 1 / 16, stem='small')}


@pytest.mark.parametrize('name', ENCODERS)
def test_onnx_runtime_computes_the_same(name, tmp_path):
  pytest.importorskip('jax2onnx')
  runtime = pytest.importorskip('onnxruntime')
  model = ENCODERS[name]
  variables = model.init(jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3)))
  onnx.export(lambda images: model.apply(variables, images), SIZE, tmp_path / 'model.onnx')
  session = runtime.InferenceSession(tmp_path / 'model.onnx', providers=['CPUExecutionProvider'])
  (given,), made = session.get_inputs(), [output.name for output in session.get_outputs()]
  assert (given.name, given.type, made) == ('images', 'tensor(float)', ['cls', 'patches'])
  assert not isinstance(given.shape[0], int) and given.shape[1:] == [SIZE, SIZE, 3]
  rng, apart = np.random.default_rng(0), {}
  for batch in (1, 3, 7):
    images = rng.normal(size=(batch, SIZE, SIZE, 3)).astype(np.float32)
    want = model.apply(variables, images)
    for key, got in zip(made, session.run(made, {'images': images}), strict=True):
      assert got.shape == want[key].shape and np.std(got) > 0.01
      apart[f'{batch} {key}'] = np.abs(got - want[key]).max()
  print(f'{name}: {apart}')
  assert max(apart.values()) < 1e-4
  assert [path.name for path in tmp_path.iterdir()] == ['model.onnx']


def test_what_is_translated_wrongly_is_not_written(tmp_path, capsys):
  """The ImageNet stem's max-pooling is: once jax2onnx knows its padding, this encoder belongs to those above."""
  pytest.importorskip('jax2onnx')
  pytest.importorskip('onnxruntime')
  native.save(tmp_path / 'ours', pretrained('resnet', RESNET | {'width': 1 / 16}))
  run(export, 1, workdir=tmp_path / 'ours', format='onnx', output=tmp_path / 'out' / 'model.onnx')
  error = capsys.readouterr().err
  assert ('differs: max' in error or 'computes other arrays' in error) and 'nothing was written' in error
  assert not list((tmp_path / 'out').iterdir())


def test_without_jax2onnx_the_error_says_how_to_get_it(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'jax2onnx', None)
  with pytest.raises(ConfigError, match=r"pip install -e '\.\[onnx\]'") as error:
    onnx.export(lambda x: {'x': x}, SIZE, tmp_path / 'model.onnx')
  assert len(str(error.value).splitlines()) == 1 and not list(tmp_path.iterdir())
