"""Transfer of frozen features to other data sets by logistic regression: MSN, arXiv:2204.07141, appendix A.5.1."""

from collections.abc import Collection
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
    check_tasks(self.tasks, TASKS)


def check_tasks(tasks: tuple[str, ...], known: Collection[str]) -> None:
  """Raises ValueError if a task is not one of those `known`, or named twice."""
  for i, task in enumerate(tasks):
    if task not in known:
      near = difflib.get_close_matches(task, known, n=3, cutoff=0.5)
      raise ValueError(f'tasks={tasks}: {task!r} is not one of the tasks; nearest names: {", ".join(near) or "none"}')
    if task in tasks[:i]:
      raise ValueError(f'tasks={tasks}: must name {task!r} once')


def transfer(evaluator: Evaluator, options: Transfer, *, seed: int) -> list[Result]:
  """Evaluates the features of an evaluator on each task.

  Returns:
    One result per task: the accuracy on the test split; then `group_means`.

  Raises:
    ConfigError: a data set is not prepared; all are opened before anything is encoded.
    DataError: a data set is incomplete.
  """
  for name in options.tasks:
    for split in 'train', 'test':
      _open(evaluator, name, split)
  results = [_evaluate(evaluator, name, options, seed) for name in options.tasks]
  return results + group_means(results)


def group_means(results: list[Result]) -> list[Result]:
  """One result per group of GROUPS whose tasks all have one: their mean, with `each` in the order of the group."""
  values = {result.name: result.value for result in results}
  found = []
  for group, names in GROUPS.items():
    if set(names) <= set(values):
      each = tuple(values[name] for name in names)
      found.append(Result(group, float(np.mean(each)), each=each))
  return found


def _open(evaluator: Evaluator, name: str, split: str) -> Source:
  return open_source(dataclasses.replace(evaluator.data, source=f'task:{name}'), split)


def _evaluate(evaluator: Evaluator, name: str, options: Transfer, seed: int) -> Result:
  task = TASKS[name]
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
