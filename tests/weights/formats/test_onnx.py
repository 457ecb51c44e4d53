"""ONNX files: ONNX Runtime computes what the encoder computes, for any number of images."""

import json
import sys

import numpy as np
import onnx as onnx_library
import onnxruntime
import pytest

from maskrep.cli import export
from maskrep.errors import ConfigError
from maskrep.weights import native, parity
from maskrep.weights.formats import onnx, torchvision_resnet
from tests.support.encoders import CAIT, RESNET, VIT, pretrained, run

pytestmark = pytest.mark.usefixtures('torchvision')
THIN = RESNET | {'width': 1 / 16}
ENCODERS = {
  'vit': ('vit', VIT), 'cait': ('cait', CAIT), 'resnet18': ('resnet', THIN),
  'resnet50': ('resnet', RESNET | {'depth': 50})}
SLOW = 'resnet50',


@pytest.mark.parametrize('name', [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in ENCODERS])
def test_onnx_runtime_computes_the_same(name, tmp_path):
  kind, config = ENCODERS[name]
  ours, folder = pretrained(kind, config), tmp_path / 'out'
  native.save(tmp_path / 'ours', ours)
  run(export, workdir=tmp_path / 'ours', format='onnx', output=folder / 'model.onnx')
  assert sorted(path.name for path in folder.iterdir()) == ['model.onnx', 'parity.json']
  size = ours.sides[0]
  certificate = json.loads((folder / 'parity.json').read_text())
  assert certificate['verified'] and certificate['max_abs_difference'].keys() == {str(size)}, certificate['status']
  assert certificate['with'] == f'ONNX Runtime {onnxruntime.__version__}'

  model = onnx_library.load(folder / 'model.onnx')
  assert not any(node.metadata_props for node in model.graph.node), 'paths of this machine'
  session = onnxruntime.InferenceSession(folder / 'model.onnx', providers=['CPUExecutionProvider'])
  (given,), made = session.get_inputs(), [output.name for output in session.get_outputs()]
  assert (given.name, given.type, made) == ('images', 'tensor(float)', ['cls', 'patches'])
  assert given.shape == ['batch', size, size, 3]
  images = np.random.default_rng(1).normal(size=(7, size, size, 3)).astype(np.float32)
  want = ours.encode(images)
  for batch in (1, 7):
    for part, got in zip(made, session.run(made, {'images': images[:batch]}), strict=True):
      assert got.shape == want[part][:batch].shape and np.std(got) > 0.01
      np.testing.assert_allclose(got, want[part][:batch], atol=1e-4 * max(np.abs(want[part]).max(), 1))


@pytest.mark.parametrize('config', [
  THIN | {'stem': 'small'}, *(pytest.param(config, marks=pytest.mark.slow) for config in (
    RESNET | {'stem': 'small'}, THIN | {'depth': 50}))])
def test_a_resnet_of_another_width_or_stem_is_built_from_the_same_layers(config):
  """Before it is exported, which takes longer."""
  ours = pretrained('resnet', config)
  state = torchvision_resnet.to_foreign(ours.arrays, config)
  assert parity.compare(ours, lambda side: torchvision_resnet.model(state, config, side).peer, (32,))['verified']


@pytest.mark.parametrize('name', ['timm', 'onnxscript', 'onnxruntime'])
def test_a_library_that_is_missing_is_one_line_with_the_extra(name, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, name, None)
  with pytest.raises(ConfigError, match=rf"{name} cannot be imported .*; pip install -e '\.\[onnx\]'") as error:
    onnx.export(pretrained('vit', VIT), 12, tmp_path / 'model.onnx')
  assert len(str(error.value).splitlines()) == 1 and not list(tmp_path.iterdir())


def test_an_encoder_without_such_a_class_is_refused(tmp_path):
  with pytest.raises(ConfigError, match='choose --format=saved_model'):
    onnx.export(pretrained('cait', CAIT | {'instance': 'average'}), 12, tmp_path / 'model.onnx')


def test_more_than_a_file_holds_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(onnx, 'MOST', 1000)
  with pytest.raises(ConfigError, match='at most 2 GB, .* choose --format=saved_model'):
    onnx.export(pretrained('vit', VIT), 12, tmp_path / 'model.onnx')
