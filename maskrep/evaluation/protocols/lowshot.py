"""Low-shot evaluation: logistic regression on frozen features, MSN, arXiv:2204.07141, section 5.1 and Table 15."""

from collections.abc import Iterable, Iterator
import contextlib
import dataclasses
from typing import Annotated

import numpy as np

from maskrep.data.lists import matching, places, read_list
from maskrep.data.sources.subset import Subset
from maskrep.errors import ConfigError
from maskrep.evaluation.evaluator import Evaluator
from maskrep.evaluation.features import Features, drop_unlabelled
from maskrep.evaluation.metrics.logistic import TooFewLabels, draw_examples, draw_share, low_shot
from maskrep.evaluation.protocols.logistic import accuracy_of
from maskrep.evaluation.result import Result, from_repetitions
from maskrep.schema import Count, NotEmpty, OneOf, Positive, Range, Share, check


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowShot:
  """Subsets of the labels, and the penalty of the classifier.

  Attributes:
    labels_per_class: subsets with N labels per class, drawn `draws` times.
    fractions: subsets with a share of each class, at least one label, drawn `draws` times.
    lists: subsets of fixed images: the path of a file with one image name per line, or a pattern (with *) of several
      such files, which are then the draws.
    draws: number of draws.
    l2: the penalty of `logistic.fit`: one for all subsets, or one per subset in the order of the fields above; with
      `folds`, the candidates from which cross-validation chooses one per draw.
    folds: folds of the cross-validation; 0 is none.
    centre: features are centred on the mean of all training features ('data'), or each on its own mean over the
      channels ('channels'), before they are scaled to length 1.
    intercept: whether the classifier has a bias. The MSN authors' code has none, and centres on channels.
  """

  labels_per_class: tuple[Count, ...]
  fractions: tuple[Annotated[float, Range(0, 1, above=True)], ...]
  lists: tuple[str, ...]
  draws: Count
  l2: tuple[Positive, ...]
  folds: Annotated[int, Range(0, 100)]
  centre: Annotated[str, OneOf(('data', 'channels'))] = 'data'
  intercept: bool = True

  def __post_init__(self):
    check(self)
    subsets = len(self.labels_per_class) + len(self.fractions) + len(self.lists)
    if not subsets:
      raise ValueError('labels_per_class=(): must name a subset, as fractions and lists are empty too')
    if self.folds == 1:
      raise ValueError(f'folds={self.folds}: must be 0, or 2 to 100')
    if not self.l2 or (not self.folds and len(self.l2) not in (1, subsets)):
      raise ValueError(f'l2={self.l2}: must have one value, one per subset ({subsets}), or folds above 1')
    if self.folds and 1 in self.labels_per_class:
      raise ValueError(f'folds={self.folds}: must be 0 if labels_per_class has 1: none can be held out')

  @property
  def at_once(self) -> bool:
    """Whether all of `labels_per_class` are fitted by one program: if there is one penalty."""
    return bool(self.labels_per_class) and len(self.l2) == 1 and not self.folds

  def needed(self, num_classes: int) -> tuple[str, int]:
    """The field that needs the most training examples, and their number."""
    return 'labels_per_class', num_classes * max(self.labels_per_class, default=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowShotMasked(LowShot):
  """Low-shot evaluation with the classifier fitted to features of masked images.

  Attributes:
    ratios: shares of the patches of a training image that are dropped.
    mask_test: whether test images are masked too; otherwise they are not.
  """

  ratios: Annotated[tuple[Share, ...], NotEmpty('(0.3, 0.7)')]
  mask_test: bool


def lowshot(evaluator: Evaluator, options: LowShot, *, seed: int) -> list[Result]:
  """Top-1 accuracy on the evaluation split, one result per subset: mean and standard deviation over its draws."""
  return _accuracies(evaluator, options, seed, _listed(evaluator, options), 0.0, 0.0)


def lowshot_masked(evaluator: Evaluator, options: LowShotMasked, *, seed: int) -> list[Result]:
  """Top-1 accuracy as in `lowshot`, for each masking ratio of the training images."""
  for ratio in options.ratios:
    evaluator.patch_counts(ratio)  # all are checked before an image is encoded
  listed = _listed(evaluator, options)
  return [result._replace(name=f'ratio {ratio:g}, {result.name}') for ratio in options.ratios
          for result in _accuracies(evaluator, options, seed, listed, ratio, ratio if options.mask_test else 0.0)]


def _listed(evaluator: Evaluator, options: LowShot) -> dict[str, list[Subset]]:
  """Returns pattern -> the images of its lists; all are opened before any image is encoded."""
  evaluator.require_labels()
  files = matching(options.lists)
  known = places(evaluator.train) if files else {}
  return {pattern: [Subset(evaluator.train, read_list(f'lists={file!r}', file, known)) for file in matches]
          for pattern, matches in files.items()}


def _accuracies(
  evaluator: Evaluator, options: LowShot, seed: int, listed: dict[str, list[Subset]], ratio: float, test_ratio: float,
) -> list[Result]:
  classes = evaluator.require_labels()
  test = drop_unlabelled(evaluator.features(evaluator.eval, test_ratio), evaluator.eval)
  results = []
  for i, (name, metric, draws) in enumerate(_subsets(evaluator, options, seed, listed, ratio)):
    l2 = options.l2 if options.folds else (options.l2[i % len(options.l2)],)
    found = [accuracy_of(train, test, mean=mean if options.centre == 'data' else None, num_classes=classes, l2=l2,
                         folds=options.folds, seed=seed, intercept=options.intercept) for train, mean in draws]
    accuracies, l2s = zip(*found, strict=True)
    results.append(from_repetitions(name, accuracies, _note(l2s), metric))
  return (_at_once(evaluator, options, seed, ratio, test) if options.at_once else []) + results


def _at_once(evaluator: Evaluator, options: LowShot, seed: int, ratio: float, test: Features) -> list[Result]:
  """The results for `labels_per_class` by a single compilation, as compiling takes longer than solving."""
  with _named_if_too_few(options):
    accuracies = low_shot(
      *evaluator.features(evaluator.train, ratio), *test, num_classes=evaluator.require_labels(),
      labels_per_class=options.labels_per_class, draws=options.draws, seed=seed, l2=options.l2[0],
      centre=options.centre, intercept=options.intercept)
  results = []
  for count, each in zip(options.labels_per_class, accuracies, strict=True):
    name, metric = _names(count)
    results.append(from_repetitions(name, each, _note(options.l2 * options.draws), metric))
  return results


def _subsets(
  evaluator: Evaluator, options: LowShot, seed: int, listed: dict[str, list[Subset]], ratio: float
) -> Iterator[tuple[str, str, list[tuple[Features, np.ndarray]]]]:
  """Yields name, metric and draws of each subset fitted by itself; a draw is its examples and the mean to centre on.
  """
  counts = () if options.at_once else options.labels_per_class
  if counts or options.fractions:
    train = evaluator.features(evaluator.train, ratio)
    mean = train.features.mean(axis=0)

    def select(draws):
      return [(Features(train.features[draw], train.labels[draw]), mean) for draw in draws]

    for count in counts:
      with _named_if_too_few(options):
        drawn = draw_examples(
          train.labels, num_classes=evaluator.require_labels(), count=count, draws=options.draws, seed=seed)
      yield *_names(count), select(drawn.reshape(options.draws, -1))
    for share in options.fractions:
      yield f'{100 * share:g} %', '', select(draw_share(train.labels, share=share, draws=options.draws, seed=seed))
  for pattern, sources in listed.items():
    draws = [drop_unlabelled(evaluator.features(source, ratio), source) for source in sources]
    yield pattern, '', [(draw, draw.features.mean(axis=0)) for draw in draws]


def _names(count: int) -> tuple[str, str]:
  """Name and metric of a number of labels per class."""
  return f'{count} label{"s" * (count > 1)} per class', f'labels_{count}'


def _note(l2s: Iterable[float]) -> str:
  return f'l2 {", ".join(f"{l2:g}" for l2 in l2s)}'


@contextlib.contextmanager
def _named_if_too_few(options: LowShot) -> Iterator[None]:
  try:
    yield
  except TooFewLabels as error:
    raise ConfigError(f'labels_per_class={options.labels_per_class}: {error}; lower it') from error
