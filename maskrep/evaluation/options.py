"""The options of evaluation, shared by what runs beside training and what runs after it."""

import dataclasses
from typing import Annotated

from maskrep.schema import Count, OneOf, Positive, Range, check

BASELINES = 'pixels', 'untrained'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Eval:
  """How features are made and judged.

  Attributes:
    every_steps: between two evaluations of the EMA encoder while training; the last step is always evaluated.
    batch_size: of the encoding, over all devices.
    crop_fraction: the central part of the shorter side that the encoder sees (0.875 is 224 of 256).
    max_train_examples: of the training split, as bank of the k-NN and for the collapse measures.
    knn_neighbours, knn_temperature: of the weighted vote.
    labels_per_class, label_draws: of the low-shot table; each count is drawn so many times, and () leaves it out.
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
