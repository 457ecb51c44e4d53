"""Nearest neighbours: weighted k-NN classification, and Recall@1."""

import dataclasses
from typing import Annotated

from maskrep.errors import ConfigError
from maskrep.evaluation.extractor import FeatureExtractor
from maskrep.evaluation.features import drop_unlabelled
from maskrep.evaluation.metrics.knn import knn_accuracy, recall_at_1
from maskrep.evaluation.result import Result
from maskrep.schema import Count, NotEmpty, Positive, check


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retrieval:
  """Recall@1, which has no options."""


def knn(extractor: FeatureExtractor, options: KNN, *, seed: int) -> list[Result]:
  """Top-1 accuracy of k-NN on the evaluation split, with the training split as neighbours."""
  extractor.require_labels()
  if max(options.neighbours) > len(extractor.train):
    raise ConfigError(f'config.knn.neighbours={options.neighbours}: must be at most the {len(extractor.train)} '
                      'training examples')
  train, test = (drop_unlabelled(extractor.features(source), source) for source in (extractor.train, extractor.eval))
  return [Result(f'{k} neighbours', knn_accuracy(*train, *test, k=k, temperature=options.temperature)[0])
          for k in options.neighbours]


def retrieval(extractor: FeatureExtractor, options: Retrieval, *, seed: int) -> list[Result]:
  """Recall@1: the share of evaluation images whose nearest image of the training split is of the same class.

  If both are the same split, an image does not find itself.
  """
  extractor.require_labels(one_split=True)
  index = drop_unlabelled(extractor.features(extractor.train), extractor.train)
  if extractor.train.fingerprint == extractor.eval.fingerprint:
    return [Result('Recall@1', recall_at_1(*index))]
  return [Result('Recall@1', recall_at_1(*index, drop_unlabelled(extractor.features(extractor.eval), extractor.eval)))]
