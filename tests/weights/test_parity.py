"""Certificates: outputs that are NaN, of another shape or too different are not certified, and no file is left."""

import numpy as np
import pytest

from maskrep.cli import export
from maskrep.errors import ConfigError, RunError
from maskrep.weights import native, parity
from maskrep.weights.formats import timm_vit
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
