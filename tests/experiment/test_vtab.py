"""Settings of VTAB are chosen on validation images, never on test images, and finished runs are not repeated."""

import dataclasses
import json
from pathlib import Path

import pytest

from maskrep.configs.evaluation import vtab as shipped
from maskrep.data.sources.tasks import VTAB
from maskrep.errors import ConfigError, NonFiniteError, Preempted
from maskrep.evaluation.result import Result
from maskrep.experiment import probe, vtab
from maskrep.experiment.vtab import Candidates, Setting
from maskrep.schema import build
from tests.experiment.test_probe import DIGITS, ENCODER

pytestmark = pytest.mark.quick

# Split that is judged on, learning rate -> accuracy: the rate that is best in the test is the worst in validation.
ACCURACIES = {('val200', 0.01): 0.8, ('val200', 0.03): 0.9, ('val200', 0.1): 0.5,
              ('test', 0.01): 0.4, ('test', 0.03): 0.3, ('test', 0.1): 0.95}
IMAGES = {'train800': 800, 'val200': 200, 'train': 1000, 'test': 77}


def task(name: str = 'vtab_dtd') -> vtab.Task:
  config = shipped.get_config().to_dict()
  config['views']['size'] = 12
  completed, = probe.experiments(config, Path('runs/x'), ENCODER, DIGITS)
  completed.config['data']['source'] = f'task:{name}'
  return vtab.Task(completed.config, IMAGES)


SETTINGS = [Setting(rate, 500, 100) for rate in (0.01, 0.03, 0.1)]


class Runs:
  """Stands for the trainer: it finishes a run at once with the accuracy of `ACCURACIES`, and notes its splits."""

  def __init__(self, stops_at: int | None = None, diverging: tuple[float, ...] = ()):
    self.made, self.stops_at, self.diverging = [], stops_at, diverging

  def __call__(self, experiment, into, allowed_changes, with_verdict):
    rate, data = experiment.optim.learning_rate, experiment.data
    if len(self.made) == self.stops_at:
      raise Preempted('stopped')
    if rate in self.diverging:
      raise NonFiniteError(f'diverged at {rate}')
    self.made.append((data.source, data.train_split, data.eval_split, rate))
    (into / 'checkpoints').mkdir(parents=True)
    accuracy = {'step': 500, 'eval/accuracy': ACCURACIES[data.eval_split, rate]}
    (into / 'metrics.jsonl').write_text('{"step": 1}\n' + json.dumps(accuracy) + '\n')
    (into / 'events.jsonl').write_text('{"event": "end", "reason": "finished"}\n')


@pytest.fixture
def runs(monkeypatch):
  def with_runs(**options) -> Runs:
    made = Runs(**options)
    monkeypatch.setattr(vtab, 'run', made)
    return made

  return with_runs


def test_the_setting_is_chosen_on_validation_images_and_tested_once(runs, tmp_path):
  runs = runs()
  result, = vtab.train({'vtab_dtd': task()}, SETTINGS, tmp_path, 'a')
  assert result == Result('vtab_dtd', 0.3, note='learning rate 0.03, 500 steps: 90.00 % of the validation images')
  source = 'task:vtab_dtd'
  assert runs.made == [(source, 'train800', 'val200', rate) for rate in (0.01, 0.03, 0.1)] + [
    (source, 'train', 'test', 0.03)]
  assert len(list(tmp_path.glob('evaluations/vtab-*'))) == 4
  assert len(list(tmp_path.glob('evaluations/vtab-*/checkpoints'))) == 1, 'the weights of the last run alone'


def test_what_has_finished_is_not_repeated(runs, tmp_path):
  tasks = {name: task(name) for name in ('vtab_dtd', 'vtab_pets')}
  stopped = runs(stops_at=6)
  with pytest.raises(Preempted):
    vtab.train(tasks, SETTINGS, tmp_path, 'a')
  resumed = runs()
  results = vtab.train(tasks, SETTINGS, tmp_path, 'a')
  assert [(result.name, result.value) for result in results] == [('vtab_dtd', 0.3), ('vtab_pets', 0.3)]
  assert len(stopped.made) == 6 and resumed.made == [
    ('task:vtab_pets', 'train800', 'val200', 0.1), ('task:vtab_pets', 'train', 'test', 0.03)]
  again = runs(stops_at=0)
  assert vtab.train(tasks, SETTINGS, tmp_path, 'a') == results and not again.made
  runs()
  vtab.train(tasks, SETTINGS, tmp_path, 'another encoder')
  assert len(list(tmp_path.glob('evaluations/vtab-*'))) == 16


def test_settings_that_diverge_are_left_out(runs, tmp_path):
  runs(diverging=(0.03,))
  assert vtab.train({'vtab_dtd': task()}, SETTINGS, tmp_path, 'a')[0].value == 0.4
  runs(diverging=(0.01, 0.03, 0.1))
  with pytest.raises(NonFiniteError, match='diverged at 0.1'):
    vtab.train({'vtab_dtd': task()}, SETTINGS, tmp_path, 'b')


def test_means_of_groups_end_the_table(monkeypatch, tmp_path):
  monkeypatch.setattr(vtab, '_chosen', lambda *given: (SETTINGS[0], 0.5))
  monkeypatch.setattr(vtab, '_accuracy', lambda experiment, *given: list(VTAB).index(experiment.data.source[5:]) / 18)
  results = vtab.train({name: task(name) for name in VTAB}, SETTINGS, tmp_path, 'a')
  assert [result.name for result in results] == [
    *VTAB, 'vtab_natural', 'vtab_specialized', 'vtab_structured', 'vtab']
  assert [result.value for result in results[-4:]] == pytest.approx([3 / 18, 8.5 / 18, 14.5 / 18, 0.5])


@pytest.mark.parametrize('split', ['train800', 'train'])
@pytest.mark.parametrize('setting', [Setting(0.03, 500, 100), Setting(1e-3, 2500, 200)])
def test_a_schedule_has_its_steps_whatever_the_number_of_images(split, setting):
  experiment = task().experiment(setting, split, 'test')
  steps = [epochs * IMAGES[split] / 512 for epochs in (experiment.train.epochs, experiment.optim.warmup_epochs)]
  assert steps == pytest.approx(setting[1:]) and experiment.batch_size == 512
  assert experiment.optim.learning_rate == setting.learning_rate and experiment.optim.optimizer_kind == 'sgd'


@pytest.mark.parametrize(('patch_size', 'size'), [(14, 378), (16, 384), (8, 384), (7, 378)])
def test_images_consist_of_complete_patches(monkeypatch, patch_size, size):
  monkeypatch.setattr(vtab, 'open_source', lambda data, split: range(IMAGES[split]))
  monkeypatch.setattr(probe, 'open_source', lambda data, split: type('', (), {'num_classes': 47}))
  encoder = dataclasses.replace(ENCODER, config=ENCODER.config | {'patch_size': patch_size})
  config = shipped.get_config().to_dict()
  candidates = Candidates(**config['vtab'] | {'tasks': ('vtab_dtd',)})
  found = vtab.open_tasks(config, Path('runs/x'), encoder, config['data'], candidates)['vtab_dtd']
  experiment = found.experiment(SETTINGS[0], 'train', 'test')
  assert experiment.objective.preprocessing.size == experiment.objective.view.size == size
  assert experiment.objective.preprocessing.squash and experiment.objective.num_classes == 47
  assert found.images == IMAGES and experiment.data.source == 'task:vtab_dtd'


def test_the_shipped_config_is_the_papers():
  candidates = build(Candidates, shipped.get_config().vtab, 'config.vtab')
  assert set(candidates.tasks) == set(VTAB)
  assert candidates.settings == [Setting(rate, *schedule) for rate in (1e-3, 3e-3, 1e-2, 3e-2)
                                 for schedule in ((500, 100), (2500, 200))]


@pytest.mark.parametrize('changes, remedy', [
  ({'tasks': ('cifar10',)}, "'cifar10' is not one of the tasks; nearest names: vtab_cifar100"),
  ({'tasks': ('vtab_dtd', 'vtab_dtd')}, "must name 'vtab_dtd' once"),
  ({'learning_rates': ()}, 'at least one'),
  ({'steps': (0,)}, 'each must be at least 1'),
  ({'steps': (500, 600)}, r'warmup_steps=\(100,\): must have one value for each of steps=\(500, 600\)'),
  ({'steps': (50,)}, r'warmup_steps=\(100,\): must not be longer than steps=\(50,\)'),
])
def test_options_are_checked(changes, remedy):
  fields = {'tasks': ('vtab_dtd',), 'learning_rates': (0.01,), 'steps': (500,), 'warmup_steps': (100,)} | changes
  with pytest.raises(ConfigError, match=remedy):
    build(Candidates, fields, 'config.vtab')
