"""Retrieval in the Universal Embedding Dataset, Ypsilantis et al. 2023, arXiv:2309.01858: one index of all domains."""

import dataclasses
from typing import Annotated

import numpy as np

from maskrep.data.datasets import open_source
from maskrep.data.sources.uned import TEST, UnED
from maskrep.errors import ConfigError
from maskrep.evaluation.evaluator import Evaluator
from maskrep.evaluation.metrics.knn import nearest_other
from maskrep.evaluation.result import Result
from maskrep.schema import NotEmpty, OneOf, check

MEAN = 'mean'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Domains:
  """The options of uned.

  Attributes:
    domains: domains that are searched for, and whose images are in the index; the benchmark has all eight.
  """

  domains: Annotated[tuple[Annotated[str, OneOf(TEST)], ...], NotEmpty('("cars", "sop")')]

  def __post_init__(self):
    check(self)
    if len(set(self.domains)) < len(self.domains):
      raise ValueError(f'domains={self.domains}: must have no duplicates')


def uned(evaluator: Evaluator, options: Domains, *, seed: int) -> list[Result]:
  """Recall@1 of each domain's test queries in one index of the index images of all domains.

  A query is right if the image of highest cosine similarity, other than itself, is of its domain and has one of its
  classes. Images that cannot be read are left out.

  Returns:
    One result per domain, then their mean.

  Raises:
    ConfigError: the data are not UnED, or a list is missing; all are opened before anything is encoded.
  """
  del seed  # nothing is drawn
  indices = {domain: _open(evaluator, domain, TEST[domain][1]) for domain in options.domains}
  queries = {domain: _open(evaluator, domain, TEST[domain][0]) for domain in options.domains}
  encoded = {domain: evaluator.features(source) for domain, source in indices.items()}
  index = np.concatenate([features for features, _ in encoded.values()])
  members = [(domain, number) for domain, (_, numbers) in encoded.items() for number in numbers]
  results, start = [], 0
  for domain, source in queries.items():
    own = source.fingerprint == indices[domain].fingerprint
    features, numbers = encoded[domain] if own else evaluator.features(source)
    places = np.arange(start, start + len(numbers)) if own else np.full(len(numbers), -1)
    start += len(encoded[domain].labels)
    found = [members[place] for place in np.asarray(nearest_other(index, features, places))]
    right = [there == domain and bool(indices[there].classes[number] & source.classes[query])
             for (there, number), query in zip(found, numbers, strict=True)]
    results.append(Result(domain, float(np.mean(right))))
  return [*results, Result(MEAN, float(np.mean([result.value for result in results])))]


def _open(evaluator: Evaluator, domain: str, name: str) -> UnED:
  source = open_source(evaluator.data, f'{domain}/{name}')
  if not isinstance(source, UnED):
    raise ConfigError(f'config.data.source={evaluator.data.source!r}: must be uned:PATH, with the folder that has '
                      'info_files and images of UnED')
  return source
