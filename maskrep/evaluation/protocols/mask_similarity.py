"""Similarity of the representations of masked and complete images: MSN, arXiv:2204.07141, Table 16."""

import dataclasses
from typing import Annotated

import numpy as np

from maskrep.errors import DataError
from maskrep.evaluation.evaluator import Evaluator
from maskrep.evaluation.result import Result
from maskrep.schema import NotEmpty, Share, check


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskSimilarity:
  """The options of mask similarity.

  Attributes:
    ratios: shares of the patches that are dropped, with one result each.
  """

  ratios: Annotated[tuple[Share, ...], NotEmpty('(0.3, 0.7)')]

  __post_init__ = check


def mask_similarity(evaluator: Evaluator, options: MaskSimilarity, *, seed: int) -> list[Result]:
  """Cosine similarity of an image's masked and unmasked representation: mean and std over the evaluation split."""
  for ratio in options.ratios:
    evaluator.patch_counts(ratio)  # all are checked before an image is encoded
  unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
  whole = unit(evaluator.features(evaluator.eval).features)
  results = []
  for ratio in options.ratios:
    masked = unit(evaluator.features(evaluator.eval, ratio).features)
    if len(masked) != len(whole):
      raise DataError(f'config.data.source: other images of {evaluator.eval.fingerprint} could be read than before; '
                      'repair them')
    cosines = np.sum(masked * whole, axis=1)
    results.append(Result(f'ratio {ratio:g}', float(cosines.mean()), float(cosines.std())))
  return results
