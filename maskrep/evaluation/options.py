"""The options of evaluation during training and at its end."""

import dataclasses
from typing import Annotated

from maskrep.schema import Count, OneOf, Positive, Range, check

BASELINES = 'pixels', 'untrained'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Eval:
  """The options of evaluation.

  Attributes:
    every_steps: steps between evaluations of the EMA encoder; the last step is always evaluated.
    batch_size: images encoded at once, over all devices.
    crop_fraction: the central part of the shorter side that the encoder sees (0.875 is 224 of 256).
    max_train_examples: examples of the training split, for k-NN and the collapse measures.
    knn_neighbours, knn_temperature: k and temperature of the weighted vote.
    labels_per_class, label_draws: numbers of labels of the low-shot table, () for none, and how often each is drawn.
    baselines: rows of the table beside the trained encoder, of 'pixels' and 'untrained'.
  """

  every_steps: Count
  batch_size: Count
  crop_fraction: Annotated[float, Range(0, 1, above=True)]
  max_train_examples: Count
  knn_neighbours: Count
  knn_temperature: Positive
  labels_per_class: tuple[Count, ...]
  label_draws: Count
  baselines: tuple[Annotated[str, OneOf(BASELINES)], ...]

  __post_init__ = check
