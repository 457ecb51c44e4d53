"""What timm's config.json says of ResNets whose names are alike."""

import json

import pytest

from maskrep.cli import import_weights
from maskrep.weights import native
from maskrep.weights.formats import torchvision_resnet
from tests.support.encoders import RESNET, pretrained, run

CFG = {'input_size': [3, 64, 64], 'crop_pct': 0.95, 'interpolation': 'bicubic', 'mean': [0.5] * 3, 'std': [0.2] * 3,
       'license': 'apache-2.0'}


@pytest.mark.parametrize(('beside', 'said'), [
  ({'architecture': 'resnetblur18', 'pretrained_cfg': CFG}, "is of 'resnetblur18' by its config.json"),
  ({'architecture': 'resnet18'}, 'config.json beside it is none of timm'),
  ([], 'config.json beside it is none of timm'),
  ({'architecture': 'resnet18', 'pretrained_cfg': CFG}, '')])
def test_a_config_beside_is_believed(beside, said, tmp_path, capsys, torchvision):
  (tmp_path / 'theirs').mkdir()
  ours = pretrained('resnet', RESNET)
  path = tmp_path / 'theirs' / 'model.safetensors'
  torchvision_resnet.write(path, torchvision_resnet.to_foreign(ours.arrays, RESNET), ours, None)
  (tmp_path / 'theirs' / 'config.json').write_text(json.dumps(beside))
  run(import_weights, 2 if said else 0, format='torchvision', input=path, output=tmp_path / 'ours')
  assert said in capsys.readouterr().err
  if not said:
    found = native.load('', tmp_path / 'ours')
    assert found.preprocessing == {'size': 64, 'crop_fraction': 0.95, 'filter': 'bicubic', 'mean': [0.5] * 3,
                                   'std': [0.2] * 3}
    assert found.source['licence'] == 'apache-2.0' and found.source['architecture'] == 'resnet18'
