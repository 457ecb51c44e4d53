"""`maskrep show` of trained weights: of a small run on the digits."""

import dataclasses

import jax
import numpy as np
from PIL import Image
import pytest

from maskrep.cli.show import main
from maskrep.configs import extrema_digits, msn_digits
from maskrep.data.datasets import open_source
from maskrep.data.sources.subset import Subset
from maskrep.errors import ConfigError
from maskrep.evaluation.evaluator import assigning
from maskrep.experiment import learnt
from maskrep.experiment.experiment import Experiment
from tests.support.pictures import encode
from tests.support.stored import store
from tests.support.tiny import shrink


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  folder = tmp_path_factory.mktemp('runs') / 'run'
  config = shrink(msn_digits.get_config())
  config.eval.max_train_examples = 100
  store(config, folder)
  return folder


def sheet(path) -> np.ndarray:
  with Image.open(path) as picture:
    return np.asarray(picture)


def test_the_queries_of_a_run_and_their_neighbours(run, tmp_path, capsys):
  assert main(['show', 'neighbours', f'--workdir={run}', f'--output={tmp_path}/x.png']) == 0
  assert ' of 48 neighbours have the class of their query' in capsys.readouterr().out
  shown = sheet(tmp_path / 'x.png')
  frames = [tuple(shown[4 + 16 + i * 122, 4 + j * 106]) for i in range(6) for j in range(9)]
  assert frames[::9] == [(0, 0, 255)] * 6  # queries are blue
  assert set(frames) - {(0, 0, 255)} <= {(0, 128, 0), (255, 0, 0)}


def test_a_query_of_the_training_split_is_not_its_own_neighbour(run):
  encoder, experiment = learnt._opened('run', run)
  source = open_source(experiment.data, 'train')
  bank, queries = Subset(source, np.array([5, 9, 2, 7])), Subset(source, np.array([7, 8]))
  function = encoder.function(0.0, False, 0)
  known, wanted = (learnt._encoded(function, encoder.weights, each, experiment.data) for each in (bank, queries))
  assert learnt._own(queries, bank, wanted, known).tolist() == [3, -1]
  places, _ = learnt.nearest.nearest(wanted.outputs, known.outputs, 1)
  assert places[0] == 3  # without being left out


def test_a_single_image_has_no_neighbours(run, monkeypatch):
  encoder, experiment = learnt._opened('run', run)
  alone = dataclasses.replace(experiment, data=dataclasses.replace(experiment.data, eval_split=''))
  monkeypatch.setattr(learnt, '_opened', lambda *_: (encoder, alone))
  monkeypatch.setattr(learnt, 'open_source', lambda data, split: Subset(open_source(data, split), np.array([3])))
  with pytest.raises(ConfigError, match='has no image beside the query'):
    learnt.neighbours('run', run, None)


def test_prototypes_are_assigned_as_the_targets_are(run, tmp_path, capsys):
  experiment = Experiment.parse(shrink(msn_digits.get_config()))
  objective = experiment.objective
  params, model_state = jax.jit(objective.init)(jax.random.key(0))
  images = jax.random.normal(jax.random.key(1), (6, 16, 16, 3))
  assigned = jax.jit(objective.assign)(params, model_state, images)
  np.testing.assert_allclose(np.exp(assigned).sum(1), 1, rtol=1e-5)
  # By hand, with the head's initial statistics: mean 0, variance 1.
  projected = jax.jit(lambda params, state: objective.head.apply({'params': params['head'], **state}, objective.encode(
    params, state, images)['cls']))(params, model_state)
  unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)  # noqa: E731
  logits = unit(np.asarray(projected)) @ unit(np.asarray(params['prototypes'])).T / objective.target_temperature
  np.testing.assert_array_equal(assigned.argmax(1), logits.argmax(1))

  assert main(['show', 'prototypes', f'--workdir={run}', f'--output={tmp_path}/x.png']) == 0
  assert ' of 12 prototypes are the likeliest of some of 100 images' in capsys.readouterr().out


def test_components_and_kernels(run, tmp_path, capsys):
  path = tmp_path / 'a.png'
  path.write_bytes(encode(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8), 'PNG'))
  assert main(['show', 'pca', f'--workdir={run}', f'--images={path}', f'--output={tmp_path}/x.png']) == 0
  assert 'components of 16 x 16 patches' in capsys.readouterr().out and sheet(tmp_path / 'x.png').shape[0] == 120
  assert main(['show', 'kernels', f'--workdir={run}', f'--output={tmp_path}/y.png']) == 0
  assert '16 kernels of 4 x 4 pixels' in capsys.readouterr().out


@pytest.mark.parametrize(('arguments', 'named'), [
  (['neighbours', '--config=msn_digits'], 'has no trained weights'),
  (['kernels', '--workdir={}', '--images=a.png'], '--images=a.png'),
  (['pca', '--workdir={}', '--images=missing.png'], 'missing.png'),
  (['neighbours', '--workdir=nothing'], 'holds no run')])
def test_what_cannot_be_shown_is_one_line(arguments, named, run, tmp_path, capsys):
  assert main(['show', *(each.format(run) for each in arguments), f'--output={tmp_path}/x.png']) == 2
  error = capsys.readouterr().err.strip()
  assert named in error and len(error.splitlines()) == 1 and not list(tmp_path.iterdir())


def test_only_a_method_with_prototypes_shows_them():
  objective = Experiment.parse(shrink(extrema_digits.get_config())).objective
  with pytest.raises(ConfigError, match='--workdir=run: was trained without prototypes'):
    assigning('--workdir=run', objective)
