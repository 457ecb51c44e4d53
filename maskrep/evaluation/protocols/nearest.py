"""Nearest neighbours: weighted k-NN classification, and Recall@1."""

import dataclasses
from typing import Annotated

from maskrep.errors import ConfigError
from maskrep.evaluation.evaluator import Evaluator
from maskrep.evaluation.features import drop_unlabelled
from maskrep.evaluation.metrics.knn import knn_accuracy, recall_at_1
from maskrep.evaluation.result import Result
from maskrep.schema import Count, NotEmpty, Positive, check

RECALL = 'Recall@1'


@dataclasses.dataclass(frozen=True, kw_only=True)
class KNN:
  """Weighted k-NN, Wu et al. 2018, arXiv:1805.01978, section 3.4.

  Attributes:
    neighbours: values of k, with one result each.
    temperature: temperature of the vote.
  """

  neighbours: Annotated[tuple[Count, ...], NotEmpty('(10, 20)')]
  temperature: Positive

  __post_init__ = check

  def needed(self, num_classes: int) -> tuple[str, int]:
    """The field that needs the most training examples, and their number."""
    return 'neighbours', max(self.neighbours)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retrieval:
  """Recall@1, which has no options."""


def knn(evaluator: Evaluator, options: KNN, *, seed: int) -> list[Result]:
  """Top-1 accuracy of k-NN on the evaluation split, with the training split as neighbours, then Recall@1."""
  evaluator.require_labels()
  if max(options.neighbours) > len(evaluator.train):
    raise ConfigError(f'config.knn.neighbours={options.neighbours}: must be at most the {len(evaluator.train)} '
                      'training examples')
  train, test = (drop_unlabelled(evaluator.features(source), source) for source in (evaluator.train, evaluator.eval))
  results = []
  for k in options.neighbours:
    accuracy, recall = knn_accuracy(*train, *test, k=k, temperature=options.temperature)
    results.append(Result(f'{k} neighbours', accuracy, metric=f'knn_{k}' if options.neighbours[1:] else 'knn'))
  return [*results, Result(RECALL, recall, metric='recall_at_1')]


def retrieval(evaluator: Evaluator, options: Retrieval, *, seed: int) -> list[Result]:
  """Recall@1: the share of evaluation images whose nearest image in the training split has the same class.

  If both splits are the same, an image is not its own neighbour.
  """
  evaluator.require_labels(one_split=True)
  index = drop_unlabelled(evaluator.features(evaluator.train), evaluator.train)
  if evaluator.train.fingerprint == evaluator.eval.fingerprint:
    return [Result(RECALL, recall_at_1(*index), metric='recall_at_1')]
  queries = drop_unlabelled(evaluator.features(evaluator.eval), evaluator.eval)
  return [Result(RECALL, recall_at_1(*index, queries), metric='recall_at_1')]
