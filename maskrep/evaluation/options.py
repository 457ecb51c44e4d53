"""The options of evaluation, shared by what runs beside training and what runs after it."""

import dataclasses


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

  every_steps: int
  batch_size: int
  crop_fraction: float
  max_train_examples: int
  knn_neighbours: int
  knn_temperature: float
  labels_per_class: tuple[int, ...]
  label_draws: int
  baselines: tuple[str, ...]

  def __post_init__(self):
    for field in ('every_steps', 'batch_size', 'max_train_examples', 'knn_neighbours', 'label_draws'):
      if getattr(self, field) < 1:
        raise ValueError(f'{field}={getattr(self, field)}: must be at least 1')
    if not 0 < self.crop_fraction <= 1:
      raise ValueError(f'crop_fraction={self.crop_fraction}: must be in (0, 1]')
    if not self.knn_temperature > 0:
      raise ValueError(f'knn_temperature={self.knn_temperature}: must be above 0')
    if unknown := set(self.baselines) - {'pixels', 'untrained'}:
      raise ValueError(f'baselines={self.baselines}: {sorted(unknown)[0]!r} is none of pixels, untrained')
