"""How little a mask changes a representation: MSN, arXiv:2204.07141, Table 16."""

import dataclasses

import numpy as np

from maskrep.errors import DataError
from maskrep.evaluation.extractor import Subject
from maskrep.evaluation.protocols.lowshot import check_ratios
from maskrep.evaluation.result import Figure


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskSimilarity:
  """`ratios`: shares of the patches that are dropped."""

  ratios: tuple[float, ...]

  def __post_init__(self):
    check_ratios(self.ratios)


def mask_similarity(subject: Subject, options: MaskSimilarity, *, seed: int) -> list[Figure]:
  """The cosine of the masked and the whole image's representation; mean and deviation over the evaluation split."""
  for ratio in options.ratios:
    subject.kept(ratio)  # all are checked before an image is encoded
  unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
  whole = unit(subject.features(subject.eval).features)
  found = []
  for ratio in options.ratios:
    masked = unit(subject.features(subject.eval, ratio).features)
    if len(masked) != len(whole):
      raise DataError(f'config.data.source: of {subject.eval.fingerprint} other images could be read than before; '
                      'repair them')
    cosines = np.sum(masked * whole, axis=1)
    found.append(Figure(f'ratio {ratio:g}', float(cosines.mean()), float(cosines.std())))
  return found
