"""Nearest neighbours: the weighted vote of the k nearest, and Recall@1."""

import dataclasses

from maskrep.errors import ConfigError
from maskrep.evaluation.extractor import Subject
from maskrep.evaluation.features import labelled
from maskrep.evaluation.metrics.knn import knn_accuracy, recall_at_1
from maskrep.evaluation.result import Figure


@dataclasses.dataclass(frozen=True, kw_only=True)
class KNN:
  """Weighted k-NN, Wu et al. 2018, arXiv:1805.01978, section 3.4.

  Attributes:
    neighbours: values of k, each a figure.
    temperature: of the vote.
  """

  neighbours: tuple[int, ...]
  temperature: float

  def __post_init__(self):
    if not self.neighbours or min(self.neighbours) < 1:
      raise ValueError(f'neighbours={self.neighbours}: must name numbers of at least 1, for example (10, 20)')
    if not 0 < self.temperature < float('inf'):
      raise ValueError(f'temperature={self.temperature}: must be finite and above 0')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retrieval:
  """Recall@1, which has nothing to choose."""


def knn(subject: Subject, options: KNN, *, seed: int) -> list[Figure]:
  """Top-1 accuracy on the evaluation split, by the labels of the training split."""
  subject.labelled()
  if max(options.neighbours) > len(subject.train):
    raise ConfigError(f'config.knn.neighbours={options.neighbours}: must be at most the {len(subject.train)} examples')
  train, test = (labelled(subject.features(source), source) for source in (subject.train, subject.eval))
  return [Figure(f'{k} neighbours', knn_accuracy(*train, *test, k=k, temperature=options.temperature)[0])
          for k in options.neighbours]


def retrieval(subject: Subject, options: Retrieval, *, seed: int) -> list[Figure]:
  """The share of queries, of the evaluation split, whose nearest image of the training split is of their class.

  Where both are the same split, an image does not find itself.
  """
  subject.labelled(one_split=True)
  index = labelled(subject.features(subject.train), subject.train)
  if subject.train.fingerprint == subject.eval.fingerprint:
    return [Figure('Recall@1', recall_at_1(*index))]
  return [Figure('Recall@1', recall_at_1(*index, labelled(subject.features(subject.eval), subject.eval)))]
