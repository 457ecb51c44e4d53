"""Certificates: outputs that are NaN, of another shape or too different are not certified, and no file is left."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from maskrep.cli import export
from maskrep.errors import ConfigError, RunError
from maskrep.weights import native, parity
from maskrep.weights.formats import table, timm_vit
from maskrep.weights.staged import staged
from tests.support.encoders import VIT, pretrained, run


def peers(change):
  ours = pretrained('vit', VIT)
  return ours, lambda side: ('peer', lambda images: change(ours.encode(images)))


@pytest.mark.parametrize(('change', 'expected'), [
  (lambda out: out | {'patches': out['patches'] * np.nan}, 'differs: max .difference. nan'),
  (lambda out: out | {'patches': out['patches'] + 1e-2}, 'differs: max .difference. 1'),
  (lambda out: out | {'cls': out['cls'][:, :1]}, 'computes other arrays'), (lambda out: {'cls': out['cls']}, 'other')])
def test_outputs_that_differ_are_refused(change, expected, tmp_path):
  (tmp_path / 'file').touch()
  with pytest.raises(RunError, match=expected):
    parity.certify(*peers(change), tmp_path / 'file', (12,))
  assert not (tmp_path / 'parity.json').exists()


def test_nothing_is_left_of_an_export_that_differs(tmp_path, monkeypatch, capsys):
  ours = pretrained('vit', VIT)
  native.save(tmp_path / 'ours', ours)
  monkeypatch.setattr(timm_vit, 'peer', lambda state, config, side: ('peer', lambda images: {
    name: value + 1 for name, value in ours.encode(images).items()}))
  run(export, 1, workdir=tmp_path / 'ours', format='timm', output=tmp_path / 'out' / 'w.safetensors')
  assert 'nothing was written' in capsys.readouterr().err and not list((tmp_path / 'out').iterdir())


def test_a_saved_model_is_certified(tmp_path):
  pytest.importorskip('tensorflow')
  native.save(tmp_path / 'ours', pretrained('vit', VIT))
  run(export, workdir=tmp_path / 'ours', format='saved_model', output=tmp_path / 'out' / 'model')
  (certificate,) = (json.loads(path.read_text()) for path in (tmp_path / 'out').rglob('parity.json'))
  assert certificate['verified'] and certificate['max_abs_difference'].keys() == {'12'}, certificate['status']


@pytest.mark.parametrize('offset', [0, 1])
def test_the_exported_forward_pass_is_what_is_certified(offset, tmp_path, monkeypatch):
  """With a format in place of ONNX that keeps the network."""
  exported = {}

  def write(ours, size, path):
    exported.update(ours=ours, size=size)
    path.touch()
    return path

  peer = lambda path: ('peer', lambda images: {  # noqa: E731
    name: value + offset for name, value in exported['ours'].encode(images).items()})
  monkeypatch.setitem(table.FORWARD_FORMATS, 'onnx', SimpleNamespace(
    KINDS=('vit',), SUFFIXES=('.onnx',), export=write, peer=peer))
  native.save(tmp_path / 'ours', pretrained('vit', VIT))
  run(export, offset, workdir=tmp_path / 'ours', format='onnx', output=tmp_path / 'out' / 'w.onnx')
  assert exported['size'] == 12 and (tmp_path / 'out' / 'w.onnx').exists() == (not offset)
  if not offset:
    certificate = json.loads((tmp_path / 'out' / 'parity.json').read_text())
    assert certificate['verified'] and certificate['max_abs_difference'].keys() == {'12'}


def test_the_hash_of_a_folder_is_of_all_of_it(tmp_path):
  (tmp_path / 'variables').mkdir()
  (tmp_path / 'variables' / 'data').write_bytes(b'1')
  one = parity._sha256(tmp_path)
  (tmp_path / 'variables' / 'data').write_bytes(b'2')
  assert parity._sha256(tmp_path) != one


def test_nothing_is_replaced(tmp_path):
  (tmp_path / 'run' / 'checkpoints').mkdir(parents=True)
  (tmp_path / 'run' / 'config.json').write_text('{}')
  native.save(tmp_path / 'ours', pretrained('vit', VIT))
  before = sorted(tmp_path.rglob('*'))
  for output, expected in (('run/encoder.npz', 'is in a run'), ('run', 'is in a run'), ('ours', 'exists already')):
    with pytest.raises(ConfigError, match=expected), staged(tmp_path / output):
      pass
  with pytest.raises(ConfigError, match='encoder.json exists already, of another'):
    with staged(tmp_path / 'ours' / 'encoder.npz') as partial:
      partial.touch()
      partial.with_name('encoder.json').touch()
  assert sorted(tmp_path.rglob('*')) == before
