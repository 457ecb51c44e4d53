"""Every shipped config can be built at its real size, and, made small, it resumes bit for bit."""

import importlib.util
import itertools
import json
from pathlib import Path

from flax.traverse_util import flatten_dict
import jax
from ml_collections import ConfigDict
import numpy as np
from PIL import Image
import pytest

from maskrep.configs import mim_ablation, mim_vitb14_in21k, mscn_ablation, mscn_resnet50_simclr_100ep, vqgan_digits
from maskrep.configs.base import small
from maskrep.devices.mesh import make_mesh
from maskrep.experiment.experiment import Experiment
from maskrep.experiment.run import run
from maskrep.workdir.checkpoint import Checkpoints
from tests.support.stored import final_state
from tests.support.tiny import completed, shrink

ROOT = Path(__file__).parent.parent.parent
CONFIGS = sorted(path for path in (ROOT / 'configs').glob('*.py') if path.stem != '__init__')
EVALUATIONS = sorted(path for path in (ROOT / 'configs' / 'evaluation').glob('*.py') if path.stem != '__init__')


def load(path: Path):
  spec = importlib.util.spec_from_file_location(f'configs.{path.stem}', path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def made(module):
  """The config; of one with variants the last, which has all."""
  return module.get_config(*getattr(module, 'VARIANTS', ())[-1:])


def kind_of(path: Path) -> str:
  """The encoders of the paper that a config is of."""
  return 'resnet' if 'mscn' in path.stem else 'cait' if 'extrema' in path.stem else 'vit'


# The others have the step of one of these, at other sizes.
TRACED = ('msn_vitl7', 'extrema_vitb16_90x8', 'mim_vitb14', 'mscn_resnet50_simclr', 'mscn_resnet50_byol',
          'vqgan_f16_1024')


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_real_size(path):
  """Shapes of initialisation and of a step at the config's own size, without computing anything."""
  module = load(path)
  assert 'main.py --config=configs/' + path.name in module.__doc__, 'the docstring gives the command'
  config = made(module)
  check_step(config, traced=path.stem in TRACED)


@pytest.mark.parametrize('name', [path.stem for path in CONFIGS if path.stem.endswith('_folder')])
@pytest.mark.parametrize('variant', small.VARIANTS)
def test_variants_for_small_data(name, variant):
  config = load(ROOT / 'configs' / f'{name}.py').get_config(variant)
  config.train.epochs = 2.0  # the warm-up is a share of the run
  Experiment.parse(config)
  assert config.views.size == small.SIZES.get(variant, 224)


def check_step(config: ConfigDict, *, traced: bool) -> None:
  if 'scan' in config.get('encoder', ()):
    config.encoder.scan = True  # traced sooner
  program = Experiment.parse(config).program(1_281_167, make_mesh())
  if traced:
    state, batch = program.state, program.batch(config.data.canvas)
    after, metrics = jax.eval_shape(program.step, state, batch, program.frozen)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    assert all(m.shape == () for m in metrics.values())


@pytest.mark.parametrize('path', EVALUATIONS, ids=lambda path: path.stem)
def test_real_size_of_training_under_an_evaluation(path):
  """As above, with what `maskrep evaluate` fills in."""
  module = load(path)
  config = made(module)
  assert f'maskrep evaluate {config.protocol} --workdir=' in module.__doc__, 'it gives the command'
  assert path.stem == config.protocol or f'--config={path.stem}' in module.__doc__
  if config.to_dict().get('method') != 'classify':
    pytest.skip('trains no classifier')
  config = completed(config, kind_of(path))
  Experiment.parse(config)
  if path.stem in ('linear_msn', 'partial_in1k', 'finetune_extrema', 'finetune_mscn_1pct'):
    check_step(config, traced=path.stem == 'partial_in1k')


def flat(config: ConfigDict) -> dict:
  return flatten_dict(config.to_dict(), sep='.')


def changed(a: ConfigDict, b: ConfigDict) -> set[str]:
  a, b = flat(a), flat(b)
  return {field for field in a if a[field] != b[field]}


def test_mscns_trajectory_adds_one_piece_at_a_time_in_the_papers_order():
  steps = mscn_ablation.STEPS
  assert [float(figure) for _, figure in steps.values()] == [
    21.0, 30.2, 31.0, 40.0, 48.2, 53.6, 63.0, 65.1, 65.6, 67.4]
  configs = [mscn_ablation.get_config(f'figure1_{name}') for name in steps]
  assert [changed(a, b) for a, b in itertools.pairwise(configs)] == [set(undo) for undo, _ in steps.values()][1:]
  first, last = configs[0], configs[-1]
  assert (first.views.shared, first.views.high_pass_sigma, first.first_mask.ratio) == ('crop', 0.0, 0.3)
  assert changed(last, mscn_resnet50_simclr_100ep.get_config()) == {'first_mask.ratio', 'second_mask.ratio'}
  # The rows of Tables 5 to 10 with the base's figure are the base.
  for name in ('table5_30', 'table6_32', 'table8_20', 'table9_5', 'table10_70'):
    assert mscn_ablation.ROWS[name][1] == '67.4' and not changed(last, mscn_ablation.get_config(name))
  assert not changed(mscn_ablation.get_config('table7_different_views'), configs[-2])


@pytest.mark.slow
def test_every_variant_of_mscns_ablation_makes_views():
  for variant in mscn_ablation.VARIANTS:
    Experiment.parse(mscn_ablation.get_config(variant))
    objective = Experiment.parse(shrink(mscn_ablation.get_config(variant))).objective
    batch = {'image': np.zeros((8, 8, 8, 3), np.uint8), 'size': np.zeros((8, 2), np.int32),
             'position': np.zeros(8, np.uint32)}
    views = jax.eval_shape(objective.views, jax.random.key(0), batch)
    assert views['first'].shape == (8, objective.num_masks, 16, 16, 3) and views['second'].shape == (8, 16, 16, 3)


def test_mims_ablations_are_valid_and_differ_in_their_piece_alone():
  for variant in mim_ablation.VARIANTS:
    objective = Experiment.parse(mim_ablation.get_config(variant)).objective
    uses = 'class_token' in (objective.supervised_pooling, objective.mim_pooling)
    assert objective.encoder.class_token == uses, 'a class token only where one is used'
    assert objective.carried == (('decoder',) if variant.endswith('both') else ())
  stages = {name: mim_ablation.get_config(f'table6_b_{name}') for name in ('both', 'neither', 'pretraining')}
  assert changed(stages['both'], stages['pretraining']) == {'objective.mim_weight', 'objective.carry_decoder'}
  assert changed(stages['neither'], stages['pretraining']) == {'train.init_from'}
  for variant, (epochs, weight) in mim_vitb14_in21k.IN21K.items():
    config = mim_vitb14_in21k.get_config(variant)
    assert (config.train.epochs, config.objective.mim_weight, config.optim.weight_decay) == (epochs, weight, 0.03)


@pytest.fixture(scope='module')
def tokenizer(tmp_path_factory):
  """The workdir of a tokenizer that was trained for a step."""
  workdir = tmp_path_factory.mktemp('tokenizer')
  run(shrink(vqgan_digits.get_config(), steps=1), workdir)
  with Image.open(workdir / 'reconstructions.png') as picture:
    assert picture.width > 2 * 96 and picture.height > 16 * 96
  return workdir


# One with an EMA and running statistics; what saves and restores the others' states is the same.
# Made small, those that are not here differ from one of these in no code that trains.
SLOW = ('evaluation/finetune', 'evaluation/linear', 'evaluation/segmentation',
        'evaluation/segmentation_upernet_extrema', 'extrema_digits', 'extrema_vitb16_90x8', 'mim_finetune_in1k',
        'mim_vitb14', 'mscn_digits', 'mscn_resnet50_byol', 'vqgan_f16_1024')
RESUMED = ['msn_vitb16', *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


@pytest.mark.usefixtures('compiled_once')
@pytest.mark.parametrize('name', RESUMED)
def test_interrupted_is_uninterrupted(name, request, tmp_path, monkeypatch):
  """2 steps, stop, 2 more = 4 straight: every leaf and every loss, bit for bit."""
  config = made(load(ROOT / 'configs' / f'{name}.py'))
  config = shrink(completed(config) if 'protocol' in config else config)
  if config.method == 'mim':
    config.target.weights = str(request.getfixturevalue('tokenizer'))
  run(config, tmp_path / 'straight')

  class Stop(Exception):
    pass

  saved = Checkpoints.save

  def save_and_stop(self, state, step):
    saved(self, state, step)
    raise Stop

  monkeypatch.setattr(Checkpoints, 'save', save_and_stop)
  with pytest.raises(Stop):
    run(config, tmp_path / 'stopped')
  monkeypatch.setattr(Checkpoints, 'save', saved)
  run(config, tmp_path / 'stopped')

  straight, stopped = (final_state(tmp_path / name, config) for name in ('straight', 'stopped'))
  assert int(stopped.step) == 4
  jax.tree.map(np.testing.assert_array_equal, straight, stopped)
  losses = [[json.loads(line)['loss'] for line in (tmp_path / name / 'metrics.jsonl').read_text().splitlines()]
            for name in ('straight', 'stopped')]
  assert losses[0] == losses[1] and len(losses[0]) == 4
