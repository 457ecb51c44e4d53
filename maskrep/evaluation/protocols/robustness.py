"""Robustness of an ImageNet-1k classifier: top-1 accuracy under distribution shifts, and mean corruption error (mCE).

The data sets and their papers: data/sources/shifts.py. mCE: Hendrycks & Dietterich 2019, arXiv:1903.12261, section 4.
"""

from concurrent import futures
import dataclasses
import functools

import numpy as np

from maskrep.data.sources import shifts
from maskrep.data.sources.shifts import ALEXNET_ERRORS, CLASSES, SETS, SEVERITIES, SeveralLabels
from maskrep.data.sources.source import Source
from maskrep.data.sources.tfds import TFDS
from maskrep.errors import ConfigError
from maskrep.evaluation.evaluator import Evaluator
from maskrep.evaluation.result import Result


@dataclasses.dataclass(frozen=True, kw_only=True)
class Robustness:
  """The options of robustness.

  Attributes:
    sets: names of `maskrep.data.sources.shifts.SETS`.
    corruptions: corruptions of ImageNet-C; mCE needs all fifteen.
    severities: severities of each corruption; mCE needs all five.
  """

  sets: tuple[str, ...]
  corruptions: tuple[str, ...]
  severities: tuple[int, ...]

  def __post_init__(self):
    known = {'sets': SETS, 'corruptions': ALEXNET_ERRORS, 'severities': SEVERITIES}
    for field, names in known.items():
      chosen = getattr(self, field)
      if unknown := [name for name in chosen if name not in names]:
        raise ValueError(f'{field}={chosen}: {unknown[0]!r} is not one of {", ".join(map(str, names))}')
      if len(set(chosen)) < len(chosen):
        raise ValueError(f'{field}={chosen}: must have no duplicates')
    if bool(self.corruptions) != bool(self.severities):
      raise ValueError(f'severities={self.severities}: with corruptions={self.corruptions}, set both or neither')
    if not self.sets and not self.corruptions:
      raise ValueError('sets=(): must name a set if corruptions is empty')


def robustness(evaluator: Evaluator, options: Robustness, *, seed: int) -> list[Result]:
  """Evaluates the classifier of an evaluator, whose logits must be those of the 1000 classes in ImageNet's order.

  Returns:
    One result per set: its top-1 accuracy, for ImageNet-A and -R among the classes that occur in them; for ReaL the
    share of images whose prediction is among their labels, without images that have none. One result per corruption:
    the mean accuracy over the severities, and `each`. With all fifteen corruptions and all severities also 'mCE', with
    `each` corruption's error relative to AlexNet's: 1 is as bad as AlexNet. Images of ImageNet-C are encoded uncropped,
    as they are already cropped.

  Raises:
    ConfigError: there are not 1000 classes, or a data set is not prepared; all are opened first.
    DataError: a data set is incomplete.
  """
  del seed  # nothing is drawn
  levels = [(corruption, severity) for corruption in options.corruptions for severity in options.severities]
  openings = [functools.partial(_open_set, evaluator, name) for name in options.sets]
  openings += [functools.partial(_open_level, evaluator, *level) for level in levels]
  if not evaluator.encoder.as_trained:
    raise ConfigError('config.encoding: must be as in configs/evaluation/robustness.py, except for batch_size: the '
                      'classifier is evaluated on the features that it was trained on')
  if evaluator.classes != CLASSES:
    raise ConfigError(f'{evaluator.what}: its classifier has {evaluator.classes} classes, but the data '
                      f'sets of config.robustness have the {CLASSES} of ImageNet-1k; use a run that trained on these')
  for opening in openings:
    opening()  # the sources are not kept: small data sets are in memory, and there are many
  results = [Result(name, _accuracy(evaluator, name)) for name in options.sets]
  accuracies = {level: top1(*evaluator.logits(_open_level(evaluator, *level), whole=True)) for level in levels}
  for corruption in options.corruptions:
    each = tuple(accuracies[corruption, severity] for severity in options.severities)
    results.append(Result(corruption, float(np.mean(each)), each=each))
  if len(levels) == len(ALEXNET_ERRORS) * len(SEVERITIES):
    each = corruption_errors({name: [1 - accuracies[name, s] for s in SEVERITIES] for name in ALEXNET_ERRORS})
    results.append(Result('mCE', float(np.mean(each)), each=each))
  return results


def top1(logits: np.ndarray, labels: np.ndarray, subset: bool = False) -> float:
  """Returns the share of logits, float [M, C], that are highest at their label, int [M].

  With `subset` only the classes that occur among the labels can be predicted.
  """
  classes = np.unique(labels) if subset else np.arange(logits.shape[1])
  return float(np.mean(classes[logits[:, classes].argmax(-1)] == labels))


def corruption_errors(errors: dict[str, list[float]]) -> tuple[float, ...]:
  """Returns, per corruption, the sum of its errors at the five severities over the sum of AlexNet's."""
  return tuple(float(sum(each) / (len(SEVERITIES) * ALEXNET_ERRORS[name])) for name, each in errors.items())


def _open_set(evaluator: Evaluator, name: str) -> TFDS | SeveralLabels:
  return shifts.open_set(name, download=evaluator.data.download)


def _open_level(evaluator: Evaluator, corruption: str, severity: int) -> Source:
  return shifts.open_corruption(corruption, severity, download=evaluator.data.download)


def _accuracy(evaluator: Evaluator, name: str) -> float:
  source = _open_set(evaluator, name)
  logits, labels = evaluator.logits(source)
  if not isinstance(source, SeveralLabels):
    return top1(logits, labels, SETS[name].subset)
  with futures.ThreadPoolExecutor(evaluator.data.threads) as pool:
    right = list(pool.map(source.right, labels))  # a label is the index of its image here
  return float(np.mean([guess in some for guess, some in zip(logits.argmax(-1), right, strict=True) if some]))
