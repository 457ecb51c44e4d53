"""VTAB-1k by fine-tuning, Zhai et al. 2019, arXiv:1910.04867: settings are chosen on each task's validation images.

Each candidate of the settings trains on 800 images and is judged on 200 others; the best trains again on all 1000, and
only that run sees the test split. Every run is an ordinary one, in `WORKDIR/evaluations/vtab-HASH`. Starting the same
evaluation again resumes the run that was stopped, and reads the accuracies of those that have finished.
"""

from collections.abc import Mapping
import copy
import dataclasses
import itertools
from pathlib import Path
import shutil
from typing import Annotated, Any, NamedTuple

import jax

from maskrep.data.datasets import Data, open_source
from maskrep.data.sources.tasks import VTAB
from maskrep.devices.agreement import gather
from maskrep.errors import NonFiniteError
from maskrep.evaluation.protocols.transfer import check_tasks, group_means
from maskrep.evaluation.result import Result
from maskrep.experiment import probe
from maskrep.experiment.experiment import Experiment
from maskrep.experiment.run import run
from maskrep.schema import Count, NonNegativeInt, NotEmpty, Positive, Reader, build, check
from maskrep.weights.pretrained import Pretrained
from maskrep.workdir.files import read_json
from maskrep.workdir.progress import finished

PROTOCOL = 'vtab'
SPLITS = 'train800', 'val200', 'train', 'test'


class Setting(NamedTuple):
  """A learning rate, and the lengths of a schedule and of its warm-up in steps."""

  learning_rate: float
  steps: int
  warmup_steps: int

  def __str__(self) -> str:
    return f'learning rate {self.learning_rate:g}, {self.steps} steps'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidates:
  """The tasks, and the settings among which each task's is chosen: every learning rate with every schedule.

  Attributes:
    tasks: tasks of VTAB, names of `maskrep.data.sources.tasks.VTAB`.
    learning_rates: learning rates, in place of `optim.learning_rate`.
    steps: lengths of the schedules in steps, in place of `train.epochs`.
    warmup_steps: the warm-up of each of these schedules, in place of `optim.warmup_epochs`.
  """

  tasks: Annotated[tuple[str, ...], NotEmpty('("vtab_dtd",)')]
  learning_rates: Annotated[tuple[Positive, ...], NotEmpty('(0.01, 0.03)')]
  steps: Annotated[tuple[Count, ...], NotEmpty('(500, 2500)')]
  warmup_steps: tuple[NonNegativeInt, ...]

  def __post_init__(self):
    check(self)
    check_tasks(self.tasks, VTAB)
    if len(self.warmup_steps) != len(self.steps):
      raise ValueError(f'warmup_steps={self.warmup_steps}: must have one value for each of steps={self.steps}')
    if any(warmup > steps for steps, warmup in zip(self.steps, self.warmup_steps, strict=True)):
      raise ValueError(f'warmup_steps={self.warmup_steps}: must not be longer than steps={self.steps}')

  @property
  def settings(self) -> list[Setting]:
    schedules = zip(self.steps, self.warmup_steps, strict=True)
    return [Setting(rate, *schedule) for rate, schedule in itertools.product(self.learning_rates, schedules)]


class Task(NamedTuple):
  """A task for an encoder: a complete training config, and the number of images of each split in `SPLITS`."""

  config: dict[str, Any]
  images: dict[str, int]

  def experiment(self, setting: Setting, train: str, test: str) -> Experiment:
    """The run with a setting that trains on one split and is judged on another."""
    config = copy.deepcopy(self.config)
    epochs_per_step = config['batch_size'] / self.images[train]
    config['data'].update(train_split=train, eval_split=test)
    config['train']['epochs'] = setting.steps * epochs_per_step
    config['optim'].update(learning_rate=setting.learning_rate, warmup_epochs=setting.warmup_steps * epochs_per_step)
    return Experiment.parse(config)


def open_tasks(
  config: Mapping[str, Any], folder: Path, pretrained: Pretrained, data: Mapping[str, Any], candidates: Candidates
) -> dict[str, Task]:
  """The tasks by name, after opening all their splits.

  Images have the largest size up to `views.size` that consists of complete patches: of 384 pixels and patches of 14,
  378, which has the 27 x 27 patches that a convolution without padding would cut from 384.

  Args:
    config: the evaluation's, as plain data.
    folder, pretrained: the encoder.
    data: the data section, whose source and splits are replaced.

  Raises:
    ConfigError: the config is invalid, or a data set is not prepared.
    DataError: a data set is incomplete.
  """
  given = dict(config.get('views', {}))
  size = given.get('size', 0)
  views = given | {'size': size - size % pretrained.config.get('patch_size', 1)}
  tasks = {}
  for name in candidates.tasks:
    section = dict(data) | {'source': f'task:{name}', 'train_split': 'train800', 'eval_split': 'val200'}
    completed, = probe.experiments(dict(config) | {'views': views}, folder, pretrained, section)
    images = {split: len(open_source(build(Data, section, 'config.data'), split)) for split in SPLITS}
    tasks[name] = Task(completed.config, images)
    for setting in candidates.settings:  # a setting that is not valid is refused before anything trains
      tasks[name].experiment(setting, 'train', 'test')
  return tasks


def read_candidates(config: Mapping[str, Any]) -> Candidates:
  """The section `vtab`.

  Raises:
    ConfigError: it is missing or invalid.
  """
  return Reader(config)(PROTOCOL, Candidates)


def train(tasks: Mapping[str, Task], settings: list[Setting], folder: Path, digest: str) -> list[Result]:
  """Fine-tunes on every task.

  Args:
    folder: of the encoder.
    digest: identifies the encoder.

  Returns:
    One result per task: the top-1 accuracy on its test split. Then the means of the groups of tasks.

  Raises:
    RunError: the reason why a run ended before its end.
  """
  results = []
  for name, task in tasks.items():
    best, validation = _chosen(task, settings, folder, digest)
    accuracy = _accuracy(task.experiment(best, 'train', 'test'), folder, digest)
    results.append(Result(name, accuracy, note=f'{best}: {100 * validation:.2f} % of the validation images'))
    if jax.process_index() == 0:
      print(f'{name}: {100 * accuracy:.2f} % with {results[-1].note}', flush=True)
  return results + group_means(results)


def _chosen(task: Task, settings: list[Setting], folder: Path, digest: str) -> tuple[Setting, float]:
  """The setting of the highest accuracy on the validation split, the first of equals, and that accuracy.

  Settings with updates that are not finite are left out.

  Raises:
    NonFiniteError: no setting is left.
  """
  accuracies, diverged = {}, []
  for setting in settings:
    try:
      accuracies[setting] = _accuracy(task.experiment(setting, 'train800', 'val200'), folder, digest, candidate=True)
    except NonFiniteError as error:
      diverged.append(error)
  if not accuracies:
    raise diverged[-1]
  return max(accuracies.items(), key=lambda item: item[1])


def _accuracy(experiment: Experiment, folder: Path, digest: str, *, candidate: bool = False) -> float:
  """The last accuracy of a run, in every process, after training it to its end unless it has finished.

  The weights of a candidate are removed: of a large encoder they would fill a disk.
  """
  into = folder / 'evaluations' / f'{PROTOCOL}-{probe.identity(experiment.config, digest)}'
  if not gather({'finished': finished(into)})[0]['finished']:
    run(experiment, into, allowed_changes=('train.init_from',), with_verdict=False)
  first = jax.process_index() == 0
  if candidate and first:
    shutil.rmtree(into / 'checkpoints', ignore_errors=True)
  return gather({'accuracy': read_json(into / 'metrics.jsonl')[0][-1]['eval/accuracy'] if first else 0})[0]['accuracy']
