"""The evaluations of a run: collapse measures and k-NN during training, a table at the end.

The only place that tests for the optional protocols of an objective: `Classifies`, `Segments`, `Reconstructs`.
"""

from collections.abc import Callable
import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from maskrep import rng
from maskrep.data.datasets import Data
from maskrep.data.sources.source import Source
from maskrep.errors import ConfigError
from maskrep.evaluation import features, table
from maskrep.evaluation.features import EncodeFn, Features
from maskrep.evaluation.metrics import segmentation
from maskrep.evaluation.metrics.collapse import collapse_metrics
from maskrep.evaluation.metrics.knn import knn_accuracy
from maskrep.evaluation.metrics.logistic import TooFewLabels
from maskrep.evaluation.options import Eval
from maskrep.show.sheet import sheet_png
from maskrep.types import Classifies, Objective, Reconstructs, Segments, TrainState

PICTURES = 16  # images that are shown reconstructed
COLLAPSE_EXAMPLES = 10_000  # enough for the effective rank of some thousand dimensions


def has_classifier(objective: Objective) -> bool:
  """True if the objective trains a classifier of its own."""
  return isinstance(objective, Classifies)


def ends_in_accuracy(objective: Objective) -> bool:
  """True if the last evaluation of a run measures the accuracy of its predictions."""
  return isinstance(objective, (Classifies, Segments))


def check_data(objective: Objective, options: Eval, name: str, train: Source, test: Source | None) -> None:
  """Checks that a data set fits the objective and has the examples that its evaluation needs.

  Args:
    name: name of the data set, for errors.

  Raises:
    ConfigError: naming the field, its value and the remedy.
  """
  bank, classes = min(options.max_train_examples, len(train)), train.num_classes
  if test is not None and classes:
    # A class may still have too few examples, which is known only when the labels are read, with the images.
    for field, needed in (('knn_neighbours', options.knn_neighbours),
                          ('labels_per_class', classes * max(options.labels_per_class, default=0))):
      if needed > bank:
        raise ConfigError(f'config.eval.{field}={getattr(options, field)}: needs {needed} examples, but the '
                          f'smaller of config.eval.max_train_examples and the training split is {bank}')
  if isinstance(objective, Classifies) and objective.num_classes != classes:
    raise ConfigError(f'config.regularisation.num_classes={objective.num_classes}: {name} has {classes or "no"} '
                      'classes; set it to that number')
  if isinstance(objective, Segments) and objective.map_classes != train.map_classes:
    if not train.map_classes:
      raise ConfigError(f'config.data.source={name}: has no label maps with known classes; use '
                        'digit_scenes, ade20k:PATH or a tfds data set with them')
    raise ConfigError(f'config.objective.map_classes={objective.map_classes}: {name} has {train.map_classes} '
                      'classes; set it to that number')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluator:
  """Evaluates the EMA encoder on a sample of the training split and, if there is one, on the evaluation split."""

  objective: Objective
  options: Eval
  train_source: Source
  eval_source: Source | None
  data: Data
  seed: int
  mesh: Mesh

  def metrics(self, state: TrainState) -> dict[str, float]:
    """Returns {'rankme', 'feature_std'} and, with labels, {'knn', 'recall_at_1'}, all prefixed by 'eval/'.

    Recall@1 is the share of the evaluation split whose nearest training example is of the same class. An objective with
    a classifier also gets its 'accuracy', and one that segments 'mean_iou' and 'pixel_accuracy'.

    Raises:
      DataError: the objective segments, and no pixel of the evaluation split has a class.
    """
    weights = state.ema_params, state.model_state
    train = self._extract(self._encoder, weights, self._bank)
    subset = train.features[::len(train.features) // COLLAPSE_EXAMPLES + 1]
    metrics = {name: float(value) for name, value in collapse_metrics(subset).items()}
    if self._labelled:
      test = self._extract(self._encoder, weights, self.eval_source)
      metrics['knn'], metrics['recall_at_1'] = knn_accuracy(
        *train, *test, k=self.options.knn_neighbours, temperature=self.options.knn_temperature)
      if (accuracy := self._accuracy(state, test)) is not None:
        metrics['accuracy'] = accuracy
    if self.eval_source is not None and isinstance(self.objective, Segments):
      metrics |= self._segmentation(state.ema_params)
    return {f'eval/{name}': value for name, value in metrics.items()}

  def pictures(self, state: TrainState) -> dict[str, bytes]:
    """Returns file name -> bytes of a PNG; if the objective reconstructs, of images beside their reconstructions.

    The images are from the evaluation split or, if there is none, the training split.
    """
    if not isinstance(self.objective, Reconstructs):
      return {}
    source = features.sample(self.eval_source or self.train_source, PICTURES)
    batch_size = -(-PICTURES // self.mesh.size) * self.mesh.size
    images = self._extract(self._reconstructor, state.ema_params, source, batch_size).features
    return {'reconstructions.png': sheet_png({'image': images[:, 0], 'reconstruction': images[:, 1]})}

  def table(self, state: TrainState) -> list[table.Row]:
    """Returns the rows of the final table: the baselines, then the trained encoder; none without labels.

    Raises:
      ConfigError: a class has fewer examples than `labels_per_class`.
    """
    if not self._labelled:
      return []
    untrained = jax.jit(self.objective.init)(rng.stream(self.seed, 'init'))
    pixels = features.pixels(self.objective.preprocessing.size, self.data.canvas)
    encoders = {'pixels': (features.jit_encoder(pixels, self.mesh), None),
                'untrained': (self._encoder, untrained)}
    evaluated = {name: encoders[name] for name in self.options.baselines}
    evaluated['trained'] = self._encoder, (state.ema_params, state.model_state)
    rows = []
    try:
      for name, encoder in evaluated.items():
        train, test = (self._extract(*encoder, source) for source in (self._bank, self.eval_source))
        rows.append(table.row(
          name, train, test, num_classes=self.train_source.num_classes, options=self.options,
          accuracy=self._accuracy(state, test) if name == 'trained' else None))
      return rows
    except TooFewLabels as error:
      raise ConfigError(f'config.eval.labels_per_class={self.options.labels_per_class}: {error}; lower it, or '
                        f'raise config.eval.max_train_examples={self.options.max_train_examples}') from error

  def _accuracy(self, state: TrainState, test: Features) -> float | None:
    """The accuracy of the objective's classifier; None if it has none."""
    if not isinstance(self.objective, Classifies):
      return None
    logits = jax.jit(self.objective.classify)(state.ema_params, test.features)
    return float((logits.argmax(-1) == test.labels).mean())

  def _segmentation(self, params) -> dict[str, float]:
    confusion = segmentation.confusion(
      self._confusion, params, self.eval_source, self.data, classes=self.objective.map_classes,
      batch_size=self.options.batch_size, mesh=self.mesh)
    scores = segmentation.scores(confusion)
    return {'mean_iou': scores.mean_iou, 'pixel_accuracy': scores.pixel_accuracy}

  @functools.cached_property
  def _confusion(self) -> segmentation.ConfusionFn:
    return segmentation.jit_confusion(
      self.objective.segment, self.objective.preprocessing, classes=self.objective.map_classes, mesh=self.mesh)

  @functools.cached_property
  def _bank(self) -> Source:
    return features.sample(self.train_source, self.options.max_train_examples)

  @functools.cached_property
  def _encoder(self) -> EncodeFn:
    return features.jit_encoder(features.class_token(self.objective.encode, self.objective.preprocessing), self.mesh)

  @functools.cached_property
  def _reconstructor(self) -> EncodeFn:
    def both(params, batch):
      images = self.objective.preprocessing(batch['image'], batch['size'])
      return jnp.stack([images, self.objective.reconstruct(params, images)], axis=1)

    return features.jit_encoder(both, self.mesh)

  @property
  def _labelled(self) -> bool:
    return self.eval_source is not None and self.train_source.num_classes > 0

  def _extract(self, encoder: Callable, weights, source: Source, batch_size: int | None = None) -> Features:
    return features.extract(
      encoder, weights, source, self.data, batch_size=batch_size or self.options.batch_size, mesh=self.mesh)
