"""Transfer of frozen features to other data sets: logistic regression for classification tasks, Recall@1 for retrieval.

VTAB-1k: Zhai et al. 2019, arXiv:1910.04867; UnED: Ypsilantis et al. 2023, arXiv:2309.01858. For the tasks and their
differences from these papers see data/sources/tasks.py. VTAB fine-tunes, or chooses the hyper-parameters of a linear
probe on the 200 validation examples; here they are chosen by cross-validation on all 1000.
"""

import dataclasses
import difflib
from typing import Annotated

import numpy as np

from maskrep.data.datasets import open_source
from maskrep.data.sources.source import Source
from maskrep.data.sources.tasks import GROUPS, TASKS, Task
from maskrep.errors import ConfigError
from maskrep.evaluation.evaluator import Evaluator
from maskrep.evaluation.features import Features, drop_unlabelled
from maskrep.evaluation.metrics.knn import recall_at_1
from maskrep.evaluation.protocols.logistic import accuracy_of
from maskrep.evaluation.result import Result
from maskrep.schema import NotEmpty, Positive, Range, check


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transfer:
  """The options of transfer.

  Attributes:
    tasks: names of `maskrep.data.sources.tasks.TASKS`.
    l2s: penalties of the logistic regression, among which cross-validation chooses one per task.
    folds: folds of the cross-validation.
  """

  tasks: Annotated[tuple[str, ...], NotEmpty('("cifar10",)')]
  l2s: Annotated[tuple[Positive, ...], NotEmpty('(0.1, 1.0)')]
  folds: Annotated[int, Range(2)]

  def __post_init__(self):
    check(self)
    for i, task in enumerate(self.tasks):
      if task not in TASKS:
        near = difflib.get_close_matches(task, TASKS, n=3, cutoff=0.5)
        raise ValueError(f'tasks={self.tasks}: {task!r} is not a task; nearest names: {", ".join(near) or "none"}')
      if task in self.tasks[:i]:
        raise ValueError(f'tasks={self.tasks}: must name {task!r} once')


def transfer(evaluator: Evaluator, options: Transfer, *, seed: int) -> list[Result]:
  """Evaluates the features of an evaluator on each task.

  Returns:
    One result per task: the accuracy on the test split, or Recall@1. Then one per group of GROUPS whose tasks are all
    in `options.tasks`: their mean, with `each` in the order of the group.

  Raises:
    ConfigError: a data set is not prepared; all are opened before anything is encoded.
    DataError: a data set is incomplete.
  """
  for name in options.tasks:
    for split in TASKS[name].splits:
      _open(evaluator, name, split)
  by_task = {name: _evaluate(evaluator, name, options, seed) for name in options.tasks}
  results = list(by_task.values())
  for group, names in GROUPS.items():
    if set(names) <= set(by_task):
      each = tuple(by_task[name].value for name in names)
      results.append(Result(group, float(np.mean(each)), each=each))
  return results


def _open(evaluator: Evaluator, name: str, split: str) -> Source:
  return open_source(dataclasses.replace(evaluator.data, source=f'task:{name}'), split)


def _evaluate(evaluator: Evaluator, name: str, options: Transfer, seed: int) -> Result:
  task = TASKS[name]
  if task.retrieval:
    index = _features(evaluator, task, _open(evaluator, name, 'index'))
    queries = None if task.leaves_one_out else _features(evaluator, task, _open(evaluator, name, 'queries'))
    return Result(name, recall_at_1(*index, queries))
  source = _open(evaluator, name, 'train')
  train = _features(evaluator, task, source)
  test = _features(evaluator, task, _open(evaluator, name, 'test'))
  if len(train.labels) < options.folds:
    raise ConfigError(f'config.transfer.folds={options.folds}: {name} has {len(train.labels)} training examples; '
                      'choose fewer')
  accuracy, l2 = accuracy_of(train, test, mean=train.features.mean(axis=0), num_classes=source.num_classes,
                             l2=options.l2s, folds=options.folds, seed=seed)
  return Result(name, accuracy, note=f'l2 {l2:g}')


def _features(evaluator: Evaluator, task: Task, source: Source) -> Features:
  return drop_unlabelled(evaluator.features(source, whole=task.whole), source)
