"""Transfer of frozen features to other data sets: logistic regression where they are classified, else Recall@1.

VTAB-1k: Zhai et al. 2019, arXiv:1910.04867; UnED: Ypsilantis et al. 2023, arXiv:2309.01858. Which tasks there are and
where they leave these papers: data/sources/tasks.py. VTAB's own protocol fine-tunes, or takes a linear probe whose
hyper-parameters are chosen on the 200 validation examples; here they are chosen by cross-validation on all 1000.
"""

import dataclasses
import difflib

import numpy as np

from maskrep.data.datasets import open_source
from maskrep.data.sources.source import Source
from maskrep.data.sources.tasks import GROUPS, TASKS, Task
from maskrep.errors import ConfigError
from maskrep.evaluation.extractor import Subject
from maskrep.evaluation.features import Features, labelled
from maskrep.evaluation.metrics import logistic
from maskrep.evaluation.metrics.knn import recall_at_1
from maskrep.evaluation.result import Figure


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transfer:
  """The options of transfer.

  Attributes:
    tasks: names of `maskrep.data.sources.tasks.TASKS`.
    l2s: penalties of the logistic regression, of which cross-validation takes one for each task.
    folds: of the cross-validation.
  """

  tasks: tuple[str, ...]
  l2s: tuple[float, ...]
  folds: int

  def __post_init__(self):
    if not self.tasks:
      raise ValueError('tasks=(): must name a task, for example ("cifar10",)')
    for i, task in enumerate(self.tasks):
      if task not in TASKS:
        near = difflib.get_close_matches(task, TASKS, n=3, cutoff=0.5)
        raise ValueError(f'tasks={self.tasks}: {task!r} is no task; nearest names: {", ".join(near) or "none"}')
      if task in self.tasks[:i]:
        raise ValueError(f'tasks={self.tasks}: must name {task!r} once')
    if not self.l2s or not all(l2 > 0 for l2 in self.l2s):
      raise ValueError(f'l2s={self.l2s}: must be penalties above 0, for example (0.1, 1.0)')
    if self.folds < 2:
      raise ValueError(f'folds={self.folds}: must be at least 2')


def transfer(subject: Subject, options: Transfer, *, seed: int) -> list[Figure]:
  """Judges the features of a subject on each task, in [0, 1].

  Returns:
    One figure a task: the share of the test split whose class is predicted, or Recall@1. Then one for each of GROUPS
    whose tasks were all asked for: their mean, with `each` in the order of the group.

  Raises:
    ConfigError: a data set is not prepared; all are opened before anything is encoded.
    DataError: a data set is not whole.
  """
  for name in options.tasks:
    for split in TASKS[name].splits:
      _open(subject, name, split)
  found = {name: _judged(subject, name, options, seed) for name in options.tasks}
  figures = list(found.values())
  for group, names in GROUPS.items():
    if set(names) <= set(found):
      each = tuple(found[name].value for name in names)
      figures.append(Figure(group, float(np.mean(each)), each=each))
  return figures


def _open(subject: Subject, name: str, split: str) -> Source:
  return open_source(dataclasses.replace(subject.data, source=f'task:{name}'), split)


def _judged(subject: Subject, name: str, options: Transfer, seed: int) -> Figure:
  task = TASKS[name]
  if task.retrieval:
    index = _features(subject, task, _open(subject, name, 'index'))
    queries = None if task.leaves_one_out else _features(subject, task, _open(subject, name, 'queries'))
    return Figure(name, recall_at_1(*index, queries))
  source = _open(subject, name, 'train')
  train = _features(subject, task, source)
  test = _features(subject, task, _open(subject, name, 'test'))
  if len(train.labels) < options.folds:
    raise ConfigError(f'config.transfer.folds={options.folds}: {name} has {len(train.labels)} training examples; '
                      'choose fewer')
  inputs, test_inputs = logistic.normalised(train.features.mean(axis=0), train.features, test.features)
  inputs, labels = logistic.placed(inputs, train.labels)
  l2 = logistic.cross_validated(
    inputs, labels, num_classes=source.num_classes, l2s=options.l2s, folds=options.folds, seed=seed)
  classifier = logistic.fit(inputs, labels, num_classes=source.num_classes, l2=l2)
  return Figure(name, float(np.mean(logistic.predict(classifier, test_inputs) == test.labels)), note=f'l2 {l2:g}')


def _features(subject: Subject, task: Task, source: Source) -> Features:
  return labelled(subject.features(source, whole=task.whole), source)
