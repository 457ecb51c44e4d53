"""Encoders exported to the real classes of other libraries, and imported from the files that those save."""

import dataclasses
import importlib
import json
import pickle
import pickletools

import numpy as np
import pytest

from maskrep.cli import export, import_weights
from maskrep.weights import native
from maskrep.weights.formats import detectron2
from maskrep.weights.pretrained import IMAGENET
from tests.support.encoders import CAIT, MASKGIT, RESNET, VIT, VQGAN, pretrained, proof, run

torch = pytest.importorskip('torch')
pytestmark = pytest.mark.usefixtures('torchvision')

CASES = {  # the network, and the file of its format
  'timm': ('vit', VIT, 'w.safetensors'), 'hf_msn': ('vit', VIT, 'w'), 'msn': ('vit', VIT, 'w.pth.tar'),
  'timm_cait': ('cait', CAIT, 'w.safetensors'), 'extrema': ('cait', CAIT, 'w.pth.tar'),
  'torchvision': ('resnet', RESNET, 'w.safetensors'),
  'taming': ('vqgan', VQGAN, 'w.ckpt'), 'maskgit': ('vqgan', MASKGIT, 'w.msgpack'),
  'safetensors': ('vit', VIT, 'w.safetensors'), 'npz': ('resnet', RESNET | {'width': 1 / 16}, 'w.npz')}
# The reasons.
UNCERTIFIED = {'safetensors': 'these are our own names', 'npz': 'these are our own names',
               'maskgit': "MaskGIT's code is not a package"}


WITHOUT = VIT | {'class_token': False}


@pytest.mark.parametrize(('name', 'kind', 'config', 'file'), [
  *(pytest.param(name, *case, id=name) for name, case in CASES.items()),
  pytest.param('timm', 'vit', WITHOUT, 'w.safetensors', id='timm without class token')])
def test_export_and_import_return_the_same_bits_and_are_certified(name, kind, config, file, tmp_path, monkeypatch):
  small = dataclasses.replace(IMAGENET, size=32)  # 256 pixels take long
  monkeypatch.setattr('maskrep.weights.formats.vqgan.PREPROCESSING', small)
  monkeypatch.setattr('maskrep.weights.pretrained.IMAGENET', small)
  ours, path = pretrained(kind, config), tmp_path / 'out' / file
  native.save(tmp_path / 'ours', ours)
  run(export, workdir=tmp_path / 'ours', format=name, output=path)
  run(import_weights, format=name, input=path, output=tmp_path / 'back', **({'heads': 3} if 'heads' in config else {}))
  for folder in (path if name == 'hf_msn' else path.parent, tmp_path / 'back'):
    if name not in UNCERTIFIED:
      certificate = proof(folder)
      assert certificate['network']['kind'] == kind and len(certificate['network']) == 1 + len(config)
      assert certificate['inputs']['seed'] == 0 and len(certificate['sha256']) == 64
      assert 'licence' in certificate['source']
    else:
      status = json.loads((folder / 'parity.json').read_text())['status']
      assert status.startswith(f'not verified: {UNCERTIFIED[name]}')
  back = native.load('', tmp_path / 'back')
  assert back.arrays.keys() == ours.arrays.keys()
  assert module_like(back.config) == module_like(config)
  images = np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype(np.float32)
  want, got = ours.encode(images), back.encode(images)
  for part in want:
    np.testing.assert_array_equal(got[part], want[part])


def module_like(config):
  """The fields without the initial values of LayerScale, which an export does not keep."""
  return {name: bool(value) if name in ('layer_scale', 'trunk_scale') else value for name, value in config.items()}


def test_detectron2_gets_the_names_of_its_own_converter(tmp_path):
  native.save(tmp_path / 'ours', pretrained('resnet', RESNET))
  run(export, workdir=tmp_path / 'ours', format='detectron2', output=tmp_path / 'out.pkl')
  proof(tmp_path)
  contents = pickle.loads((tmp_path / 'out.pkl').read_bytes())
  assert contents.keys() == {'model', '__author__', 'matching_heuristics'}
  assert contents['matching_heuristics'] is True
  names = set(contents['model'])
  assert {'stem.conv1.weight', 'stem.conv1.norm.running_var', 'res2.0.conv1.weight', 'res5.1.conv2.norm.bias',
          'res3.0.shortcut.weight', 'res3.0.shortcut.norm.running_mean'} <= names
  assert len(names) == 100 and all(type(value) is np.ndarray for value in contents['model'].values())
  named = {argument for opcode, argument, _ in pickletools.genops((tmp_path / 'out.pkl').read_bytes())
           if opcode.name in ('SHORT_BINUNICODE', 'BINUNICODE')}
  assert 'numpy' in named and not any(str(name).startswith('numpy.') for name in named), 'NumPy 1 has other modules'
  assert detectron2.renamed('layer4.2.bn3.weight') == 'res5.2.conv3.norm.weight'
  run(import_weights, 2, format='detectron2', input=tmp_path / 'out.pkl', output=tmp_path / 'in')


def randomise(model):
  generator = torch.Generator().manual_seed(0)
  for p in model.parameters():
    p.data += (torch.rand(p.shape, generator=generator) - 0.5) * (0.4 if p.ndim > 1 else 1)
  return model.eval()


def timm_vit(folder):
  timm = importlib.import_module('timm')
  model = timm.models.VisionTransformer(
    12, 4, num_classes=7, embed_dim=24, depth=3, num_heads=4, mlp_ratio=3.0)
  return 'timm', _safetensors(folder, randomise(model)), 4


def timm_vit_without_class_token(folder):
  timm = importlib.import_module('timm')
  model = timm.models.VisionTransformer(
    12, 4, num_classes=7, embed_dim=24, depth=3, num_heads=4, class_token=False, global_pool='avg', fc_norm=False)
  return 'timm', _safetensors(folder, randomise(model)), 4


def timm_cait(folder):
  """With what CaiT has and ExtreMA does not: talking heads, LayerScale in the trunk, learned positions."""
  model = importlib.import_module('timm').models.Cait(
    12, 4, num_classes=7, embed_dim=24, depth=3, num_heads=4, depth_token_only=1, init_values=0.5)
  return 'timm_cait', _safetensors(folder, randomise(model)), ''


def hugging_face(folder, name='ViTMSNModel'):
  transformers = importlib.import_module('transformers')
  config = transformers.ViTMSNConfig(
    hidden_size=24, num_hidden_layers=3, num_attention_heads=4, intermediate_size=60, image_size=12, patch_size=4)
  randomise(getattr(transformers, name)(config)).save_pretrained(folder)
  return 'hf_msn', folder, ''


def hugging_face_classifier(folder):
  return hugging_face(folder, 'ViTMSNForImageClassification')


def torchvision_resnet50(folder):
  model = importlib.import_module('torchvision').models.resnet50()
  for module in model.modules():
    if isinstance(module, torch.nn.BatchNorm2d):
      torch.nn.init.uniform_(module.weight, 0.5, 1.0)  # else the features of so many random layers are in the hundreds
  return 'torchvision', _safetensors(folder, model), ''


def timm_resnet18(folder):
  return 'torchvision', _safetensors(folder, importlib.import_module('timm').create_model('resnet18')), ''


def _safetensors(folder, model):
  from safetensors.torch import save_file

  save_file(model.state_dict(), folder / 'w.safetensors')
  return folder / 'w.safetensors'


@pytest.mark.parametrize('saved', [timm_vit, timm_vit_without_class_token, timm_cait, hugging_face,
                                   hugging_face_classifier, torchvision_resnet50, timm_resnet18],
                         ids=lambda saved: saved.__name__)
def test_import_of_what_the_real_class_saves(saved, tmp_path, monkeypatch):
  (tmp_path / 'theirs').mkdir()
  name, path, heads = saved(tmp_path / 'theirs')
  monkeypatch.setattr('maskrep.weights.pretrained.IMAGENET', dataclasses.replace(IMAGENET, size=64))
  run(import_weights, format=name, input=path, output=tmp_path / 'ours', **({'heads': heads} if heads else {}))
  proof(tmp_path / 'ours')


@pytest.mark.parametrize(('name', 'file'), [('hf_msn', 'w'), ('msn', 'w.pth.tar')])
def test_a_format_whose_models_have_a_class_token_refuses_an_encoder_without(name, file, tmp_path, capsys):
  native.save(tmp_path / 'ours', pretrained('vit', WITHOUT))
  run(export, 2, workdir=tmp_path / 'ours', format=name, output=tmp_path / file)
  error = capsys.readouterr().err
  assert f'--format={name}: its models have a class token, and this encoder has none' in error
  assert error.count('\n') == 1 and not (tmp_path / file).exists()


def test_the_folder_opens_unchanged_and_prepares_images_as_evaluation_does(tmp_path):
  transformers = pytest.importorskip('transformers')
  ours = pretrained('vit', VIT)
  native.save(tmp_path / 'ours', ours)
  run(export, workdir=tmp_path / 'ours', format='hf_msn', output=tmp_path / 'hf')
  model, report = transformers.ViTMSNModel.from_pretrained(tmp_path / 'hf', output_loading_info=True)
  assert not any(report.values())
  images = np.random.default_rng(1).normal(size=(2, 12, 12, 3)).astype(np.float32)
  with torch.no_grad():
    theirs = model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).last_hidden_state.numpy()
  np.testing.assert_allclose(theirs[:, 0], ours.encode(images)['cls'], atol=1e-4)
  processor = json.loads((tmp_path / 'hf' / 'preprocessor_config.json').read_text())
  assert processor['size'] == {'shortest_edge': 37} and processor['crop_size'] == {'height': 32, 'width': 32}
  assert processor['image_mean'] == [0.485, 0.456, 0.406] and processor['resample'] == 2
