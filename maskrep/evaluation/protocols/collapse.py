"""Collapse of a representation, measured without labels: effective rank, and spread of its directions."""

import dataclasses

from maskrep.evaluation.evaluator import Evaluator
from maskrep.evaluation.metrics.collapse import collapse_metrics
from maskrep.evaluation.result import Result

EXAMPLES = 10_000  # enough for the effective rank of some thousand dimensions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collapse:
  """Measures of collapse, which have no options."""


def collapse(evaluator: Evaluator, options: Collapse, *, seed: int) -> list[Result]:
  """RankMe and feature_std, see `metrics.collapse`, of at most `EXAMPLES` images of the training split."""
  del options, seed  # nothing is drawn
  features = evaluator.features(evaluator.train).features
  metrics = collapse_metrics(features[::len(features) // EXAMPLES + 1])
  return [Result(name, float(value), unit='', metric=name) for name, value in metrics.items()]
