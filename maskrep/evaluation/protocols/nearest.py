"""Nearest neighbours: the weighted vote of the k nearest, and Recall@1."""

import dataclasses
from typing import Annotated

from maskrep.errors import ConfigError
from maskrep.evaluation.extractor import FeatureExtractor
from maskrep.evaluation.features import labelled
from maskrep.evaluation.metrics.knn import knn_accuracy, recall_at_1
from maskrep.evaluation.result import Result
from maskrep.schema import Count, NotEmpty, Positive, check


@dataclasses.dataclass(frozen=True, kw_only=True)
class KNN:
  """Weighted k-NN, Wu et al. 2018, arXiv:1805.01978, section 3.4.

  Attributes:
    neighbours: values of k, each a figure.
    temperature: of the vote.
  """

  neighbours: Annotated[tuple[Count, ...], NotEmpty('(10, 20)')]
  temperature: Positive

  __post_init__ = check


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retrieval:
  """Recall@1, which has nothing to choose."""


def knn(extractor: FeatureExtractor, options: KNN, *, seed: int) -> list[Result]:
  """Top-1 accuracy on the evaluation split, by the labels of the training split."""
  extractor.labelled()
  if max(options.neighbours) > len(extractor.train):
    raise ConfigError(f'config.knn.neighbours={options.neighbours}: must be at most the {len(extractor.train)} '
                      'examples')
  train, test = (labelled(extractor.features(source), source) for source in (extractor.train, extractor.eval))
  return [Result(f'{k} neighbours', knn_accuracy(*train, *test, k=k, temperature=options.temperature)[0])
          for k in options.neighbours]


def retrieval(extractor: FeatureExtractor, options: Retrieval, *, seed: int) -> list[Result]:
  """The share of queries, of the evaluation split, whose nearest image of the training split is of their class.

  Where both are the same split, an image does not find itself.
  """
  extractor.labelled(one_split=True)
  index = labelled(extractor.features(extractor.train), extractor.train)
  if extractor.train.fingerprint == extractor.eval.fingerprint:
    return [Result('Recall@1', recall_at_1(*index))]
  return [Result('Recall@1', recall_at_1(*index, labelled(extractor.features(extractor.eval), extractor.eval)))]
