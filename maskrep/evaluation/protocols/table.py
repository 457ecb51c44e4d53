"""The protocols that do not train the encoder: for maskrep evaluate, and for the evaluations of a run."""

from collections.abc import Callable
from typing import Any, NamedTuple

from maskrep.evaluation.protocols.collapse import Collapse, collapse
from maskrep.evaluation.protocols.logistic import Logistic, logistic
from maskrep.evaluation.protocols.lowshot import LowShot, LowShotMasked, lowshot, lowshot_masked
from maskrep.evaluation.protocols.mask_similarity import MaskSimilarity, mask_similarity
from maskrep.evaluation.protocols.nearest import KNN, Retrieval, knn, retrieval
from maskrep.evaluation.protocols.robustness import Robustness, robustness
from maskrep.evaluation.protocols.transfer import Transfer, transfer
from maskrep.evaluation.protocols.uned import Domains, uned
from maskrep.evaluation.result import Result

BASELINES = 'pixels', 'untrained'


class Protocol(NamedTuple):
  """A protocol.

  Attributes:
    options: the dataclass of its section in a config.
    evaluate: (evaluator, options, seed=) -> results.
    needs: what it requires of a run: 'train' images, 'eval' images too, 'labels' of both, or its 'classifier'. If a run
      lacks it, the protocol is left out of the run's own evaluations; every run lacks a 'benchmark', data of its own.
    in_training: whether it is cheap enough for every evaluation during training; the others run at its end.
    baselines: the baselines, of `BASELINES`, for which its result is meaningful.
    needed: (options, number of classes) -> the field that needs the most training examples, and their number.
  """

  options: type
  evaluate: Callable[..., list[Result]]
  needs: str
  in_training: bool = False
  baselines: tuple[str, ...] = BASELINES
  needed: Callable[[Any, int], tuple[str, int]] | None = None

  @property
  def defaults(self) -> Any:
    """Its options if they have no fields, else None: a config must set them."""
    return None if self.options.__dataclass_fields__ else self.options()


PROTOCOLS = {
  'collapse': Protocol(Collapse, collapse, 'train', in_training=True, baselines=('untrained',)),
  'knn': Protocol(KNN, knn, 'labels', in_training=True, needed=KNN.needed),
  'retrieval': Protocol(Retrieval, retrieval, 'labels', in_training=True),
  'lowshot': Protocol(LowShot, lowshot, 'labels', needed=LowShot.needed),
  'lowshot_masked': Protocol(
    LowShotMasked, lowshot_masked, 'labels', baselines=('untrained',), needed=LowShotMasked.needed),
  'logistic': Protocol(Logistic, logistic, 'labels'),
  'mask_similarity': Protocol(MaskSimilarity, mask_similarity, 'eval', baselines=('untrained',)),
  'transfer': Protocol(Transfer, transfer, 'train'),
  'uned': Protocol(Domains, uned, 'benchmark'),
  'robustness': Protocol(Robustness, robustness, 'classifier', baselines=()),
}
