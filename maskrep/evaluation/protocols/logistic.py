"""Logistic regression on all labels: a linear probe with one minimum and without random views.

It differs from the protocol `linear`, which trains a classifier by gradient descent on random views, as the papers do.
"""

import dataclasses
from typing import Annotated

import numpy as np

from maskrep.evaluation.evaluator import Evaluator
from maskrep.evaluation.features import Features, drop_unlabelled
from maskrep.evaluation.metrics.logistic import centre_and_normalise, cross_validated, fit, predict, shard_examples
from maskrep.evaluation.result import Result
from maskrep.schema import NotEmpty, Positive, Range, check


@dataclasses.dataclass(frozen=True, kw_only=True)
class Logistic:
  """The penalties of the classifier, among which cross-validation chooses.

  Attributes:
    l2: penalties of `metrics.logistic.fit`.
    folds: folds of the cross-validation; 0 is none, for one penalty.
  """

  l2: Annotated[tuple[Positive, ...], NotEmpty('(0.1, 1.0)')]
  folds: Annotated[int, Range(0, 100)]

  def __post_init__(self):
    check(self)
    if self.folds == 1 or (not self.folds and len(self.l2) > 1):
      raise ValueError(f'folds={self.folds}: must be 2 to 100, or 0 with one value of l2')


def logistic(evaluator: Evaluator, options: Logistic, *, seed: int) -> list[Result]:
  """Top-1 accuracy on the evaluation split of logistic regression on all labels of the training split."""
  classes = evaluator.require_labels()
  train, test = (drop_unlabelled(evaluator.features(source), source) for source in (evaluator.train, evaluator.eval))
  accuracy, l2 = accuracy_of(train, test, mean=train.features.mean(axis=0), num_classes=classes, l2=options.l2,
                             folds=options.folds, seed=seed)
  return [Result(f'all {len(train.labels)} labels', accuracy, note=f'l2 {l2:g}', metric='logistic')]


def accuracy_of(
  train: Features, test: Features, *, mean: np.ndarray | None, num_classes: int, l2: tuple[float, ...], folds: int,
  seed: int, intercept: bool = True,
) -> tuple[float, float]:
  """Returns the accuracy of logistic regression on test features, and its penalty: the only one or the chosen one.

  Args:
    mean: of all training features, float [D], on which both are centred before they are scaled to unit length; None
      centres each on its own mean over the channels.
    intercept: whether the classifier has a bias.
  """
  features, queries = centre_and_normalise(mean, train.features, test.features)
  features, labels = shard_examples(features, train.labels)
  chosen = l2[0]
  if folds:
    chosen = cross_validated(features, labels, num_classes=num_classes, l2s=l2, folds=folds, seed=seed,
                             intercept=intercept)
  classifier = fit(features, labels, num_classes=num_classes, l2=chosen, intercept=intercept)
  return float(np.mean(predict(classifier, queries) == test.labels)), chosen
