"""launch/detectron2: names and shapes of what is exported for it, its filter, and its configs, all without detectron2.

Names of modules are read from detectron2 at commit 02b5c4e: backbone/resnet.py and backbone/vit.py.
"""

import importlib.util
import itertools
from pathlib import Path
import pickle
import runpy
import sys
from unittest import mock

import jax
import numpy as np
import pytest
import yaml

from maskrep.augment.highpass import high_pass
from maskrep.cli import export
from maskrep.weights import native
from maskrep.weights.formats import detectron2
from maskrep.weights.pretrained import shapes
from tests.support.encoders import CAIT, VIT, pretrained, proof, run
from tests.support.tiny import ENCODERS

torch = pytest.importorskip('torch')

FOLDER = Path(__file__).parent.parent / 'launch' / 'detectron2'
NORM = 'weight', 'bias', 'running_mean', 'running_var'


def written(kind: str, config: dict) -> dict[str, tuple[int, ...]]:
  """Name -> shape of what is written for a network, without its values."""
  arrays = {name: np.zeros(shape, np.int8) for name, shape in shapes(kind, config).items()}
  return {name: value.shape for name, value in detectron2.to_foreign(arrays, config).items()}


def test_a_resnet_has_the_names_of_the_published_conversion(torchvision):
  """tools/convert-torchvision-to-d2.py, without the classifier and counters, which no detector has."""
  with torch.device('meta'):
    state = torchvision.models.resnet50().state_dict()
  rule = [*((f'layer{i}', f'res{i + 1}') for i in range(1, 5)), *((f'bn{i}', f'conv{i}.norm') for i in range(1, 4)),
          ('downsample.0', 'shortcut'), ('downsample.1', 'shortcut.norm')]
  expected = {}
  for name, value in state.items():
    if not name.startswith('fc.') and not name.endswith('num_batches_tracked'):
      name = name if 'layer' in name else f'stem.{name}'
      for theirs, ours in rule:
        name = name.replace(theirs, ours)
      expected[name] = tuple(value.shape)
  exported = written('resnet', ENCODERS['resnet'])
  assert exported == expected

  model = ['stem.conv1']
  for stage, blocks in enumerate((3, 4, 6, 3), 2):
    model += [f'res{stage}.0.shortcut']
    model += [f'res{stage}.{i}.conv{j}' for i, j in itertools.product(range(blocks), (1, 2, 3))]
  assert exported.keys() == {name for conv in model
                             for name in (f'{conv}.weight', *(f'{conv}.norm.{leaf}' for leaf in NORM))}


@pytest.mark.parametrize('kind', ['vit', 'cait'])
def test_a_vit_has_every_array_of_vitdet_s_backbone(kind):
  config = ENCODERS[kind] | ({'class_token': True} if kind == 'vit' else {})
  exported, width = written(kind, config), config['width']
  model = {'pos_embed': (1, 196 + (kind == 'vit'), width), 'patch_embed.proj.weight': (width, 3, 16, 16),
           'patch_embed.proj.bias': (width,)}
  for i in range(config['depth']):
    linear = {'attn.qkv': (3 * width, width), 'attn.proj': (width, width), 'mlp.fc1': (4 * width, width),
              'mlp.fc2': (width, 4 * width)}
    model |= {f'blocks.{i}.{norm}.{leaf}': (width,) for norm in ('norm1', 'norm2') for leaf in ('weight', 'bias')}
    for name, shape in linear.items():
      model |= {f'blocks.{i}.{name}.weight': shape, f'blocks.{i}.{name}.bias': shape[:1]}
  expected = {f'backbone.net.{name}': shape for name, shape in model.items()}
  assert expected.items() <= exported.items()
  rest = {name.removeprefix('backbone.net.').split('.')[0] for name in exported.keys() - expected.keys()}
  assert rest <= {'cls_token', 'norm', 'blocks_token_only', 'blocks'}
  scales = {name for name in exported.keys() - expected.keys() if '.blocks.' in name}
  assert all('.gamma_' in name for name in scales), "timm's unit LayerScale, which ViTDet lacks"


@pytest.mark.usefixtures('torchvision')
@pytest.mark.parametrize('kind, config', [('cait', CAIT), pytest.param('vit', VIT, marks=pytest.mark.slow)])
def test_exports_are_certified_and_loaded_by_complete_names(kind, config, tmp_path, capsys):
  native.save(tmp_path / 'ours', pretrained(kind, config))
  run(export, workdir=tmp_path / 'ours', format='detectron2', output=tmp_path / 'backbone.pkl')
  assert proof(tmp_path)['with'].endswith('in place of detectron2')
  contents = pickle.loads((tmp_path / 'backbone.pkl').read_bytes())
  assert contents['matching_heuristics'] is False
  assert all(name.startswith('backbone.net.') for name in contents['model'])
  if kind == 'cait':
    native.save(tmp_path / 'scaled', pretrained(kind, config | {'trunk_scale': 1.0}))
    run(export, 2, workdir=tmp_path / 'scaled', format='detectron2', output=tmp_path / 'scaled.pkl')
    assert 'its ViT has neither LayerScale nor talking heads' in capsys.readouterr().err


def test_the_mapper_filters_as_we_do():
  spec = importlib.util.spec_from_file_location('high_pass', FOLDER / 'high_pass.py')
  theirs = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(theirs)
  image = np.random.default_rng(0).integers(0, 256, (30, 41, 3), np.uint8)
  mapper = theirs.HighPassMapper(lambda example: example | {'image': torch.from_numpy(image).permute(2, 0, 1)}, 5.0)
  found = mapper({'image_id': 7})
  assert found['image_id'] == 7
  expected = jax.jit(high_pass, static_argnums=1)(image.astype(np.float32), 5.0)
  np.testing.assert_allclose(found['image'].permute(1, 2, 0), expected, atol=1e-3)


@pytest.mark.parametrize('name, steps, drops, rate, train', [
  ('mscn_voc_c4_24k', 24_000, (18_000, 22_000), 0.085, ('voc_2007_trainval', 'voc_2012_trainval')),
  ('mscn_coco_c4_1x', 90_000, (60_000, 80_000), 0.05, ('coco_2017_train',))])
def test_mscn_s_configs_are_those_of_its_appendix(name, steps, drops, rate, train):
  """Tuples are text to YAML, which detectron2 evaluates."""
  config = yaml.safe_load((FOLDER / f'{name}.yaml').read_text())
  solver = config['SOLVER']
  assert (solver['MAX_ITER'], eval(solver['STEPS']), solver['BASE_LR'], solver['IMS_PER_BATCH']) == (
    steps, drops, rate, 16)
  assert (solver['WARMUP_ITERS'], solver['WARMUP_FACTOR']) == (1000, 0.333)
  assert eval(config['DATASETS']['TRAIN']) == train
  assert config['MODEL']['MASK_ON'] == (name == 'mscn_coco_c4_1x')
  assert config['MODEL']['RESNETS']['STRIDE_IN_1X1'] is False and config['INPUT']['FORMAT'] == 'RGB'


def test_extrema_s_config_trains_12_epochs():
  """With stand-ins for detectron2, which note what is set."""
  names = ('detectron2', *(f'detectron2.{part}' for part in ('config', 'data', 'modeling.backbone.vit', 'solver')),
           'fvcore.common.param_scheduler')
  with mock.patch.dict(sys.modules, {name: mock.MagicMock() for name in names}):
    config = runpy.run_path(str(FOLDER / 'extrema_coco_vitdet_12ep.py'))
  assert abs(config['train'].max_iter * 64 / 118_287 - 12) < 1e-3
  assert config['dataloader'].train.total_batch_size == 64
  assert config['model'].backbone.net.pretrain_use_cls_token is False


def test_the_readme_names_every_file():
  readme = (FOLDER / 'README.md').read_text()
  files = [path.name for path in FOLDER.iterdir() if path.is_file() and path.name != 'README.md']
  assert all(name in readme for name in files if name != 'high_pass.py') and len(files) == 5
