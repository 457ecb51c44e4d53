"""timm's config.json distinguishes ResNets whose arrays have the same names."""

import json

import pytest

from maskrep.cli import import_weights
from maskrep.models.encoder import Preprocessing
from maskrep.weights import native
from maskrep.weights.formats import torchvision_resnet
from tests.support.encoders import RESNET, pretrained, run

CFG = {'input_size': [3, 64, 64], 'crop_pct': 0.95, 'interpolation': 'bicubic', 'mean': [0.5] * 3, 'std': [0.2] * 3,
       'license': 'apache-2.0'}


@pytest.mark.parametrize(('beside', 'expected'), [
  ({'architecture': 'resnetblur18', 'pretrained_cfg': CFG}, "its config.json names 'resnetblur18'"),
  ([], 'the config.json next to it is not one of timm'),
  ({'architecture': 'resnet18', 'pretrained_cfg': CFG | {'crop_pct': 0}},
   'not one of timm (preprocessing.crop_fraction=0: must be in (0, 1])'),
  ({'architecture': 'resnet18', 'pretrained_cfg': CFG}, '')])
def test_a_config_beside_is_used(beside, expected, tmp_path, capsys, torchvision):
  (tmp_path / 'theirs').mkdir()
  ours = pretrained('resnet', RESNET)
  path = tmp_path / 'theirs' / 'model.safetensors'
  torchvision_resnet.write(path, torchvision_resnet.to_foreign(ours.arrays, RESNET), ours, None)
  (tmp_path / 'theirs' / 'config.json').write_text(json.dumps(beside))
  run(import_weights, 2 if expected else 0, format='torchvision', input=path, output=tmp_path / 'ours')
  assert expected in capsys.readouterr().err
  if not expected:
    imported = native.load('', tmp_path / 'ours')
    assert imported.preprocessing == Preprocessing(
      size=64, crop_fraction=0.95, filter='bicubic', mean=(0.5,) * 3, std=(0.2,) * 3)
    assert imported.source['licence'] == 'apache-2.0' and imported.source['architecture'] == 'resnet18'
