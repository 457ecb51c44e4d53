"""What a run asks of evaluation: collapse measures and k-NN beside training, a table at the end."""

from collections.abc import Callable
import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np

from maskrep import rng
from maskrep.augment.views import eval_views
from maskrep.data.sources.source import Source
from maskrep.errors import ConfigError
from maskrep.evaluation import features, table
from maskrep.evaluation.features import Encoder, Features
from maskrep.evaluation.metrics import segmentation
from maskrep.evaluation.metrics.collapse import collapse_metrics
from maskrep.evaluation.metrics.knn import knn_accuracy
from maskrep.evaluation.metrics.logistic import TooFewLabels
from maskrep.evaluation.options import Eval
from maskrep.types import Objective, TrainState

PICTURES = 16  # of a tokenizer
COLLAPSE_EXAMPLES = 10_000  # an effective rank of at most some thousand dimensions needs no more


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judge:
  """Judges the EMA encoder on a sample of the training split and, where there is one, on the evaluation split."""

  objective: Objective
  options: Eval
  train_source: Source
  eval_source: Source | None
  size: int
  mean: tuple[float, float, float]
  std: tuple[float, float, float]
  canvas: int
  threads: int
  stall_timeout_s: int
  seed: int
  mesh: Mesh

  def while_training(self, state: TrainState) -> dict[str, float]:
    """{'rankme', 'feature_std'}, and where there are labels {'knn', 'recall_at_1'}, prefixed by 'eval/'.

    Recall@1 is the share of the evaluation split whose nearest training example is of its class. An objective with a
    classifier of its own also gets the 'accuracy' of that, and one that segments, 'mean_iou' and 'pixel_accuracy'.

    Raises:
      DataError: the evaluation split of one that segments has no pixel of a class.
    """
    weights = state.ema_params, state.model_state
    train = self._extract(self._encoder, weights, self._bank)
    few = train.features[::len(train.features) // COLLAPSE_EXAMPLES + 1]
    found = {name: float(value) for name, value in collapse_metrics(few).items()}
    if self._labelled:
      test = self._extract(self._encoder, weights, self.eval_source)
      found['knn'], found['recall_at_1'] = knn_accuracy(
        *train, *test, k=self.options.knn_neighbours, temperature=self.options.knn_temperature)
      if (accuracy := self._accuracy(state, test)) is not None:
        found['accuracy'] = accuracy
    if self.eval_source is not None and hasattr(self.objective, 'segment'):
      found |= self._segmentation(state.ema_params)
    return {f'eval/{name}': value for name, value in found.items()}

  def reconstructions(self, state: TrainState) -> tuple[np.ndarray, np.ndarray]:
    """Some images of the evaluation split, or of training where there is none, and what the objective makes of them."""
    source = features.sample(self.eval_source or self.train_source, PICTURES)
    batch_size = -(-PICTURES // self.mesh.size) * self.mesh.size
    images = self._extract(self._reconstructor, state.ema_params, source, batch_size).features
    return images[:, 0], images[:, 1]

  def table(self, state: TrainState) -> list[table.Row]:
    """The rows of the final table: the baselines asked for, then the trained encoder; none without labels.

    Raises:
      ConfigError: a class has fewer examples than `labels_per_class` asks for.
    """
    if not self._labelled:
      return []
    untrained = jax.jit(self.objective.init)(rng.stream(self.seed, 'init'))
    encoders = {'pixels': (features.jit_encoder(features.pixels(self.canvas), self.mesh), None),
                'untrained': (self._encoder, untrained)}
    chosen = {name: encoders[name] for name in self.options.baselines}
    chosen['trained'] = self._encoder, (state.ema_params, state.model_state)
    rows = []
    try:
      for name, encoder in chosen.items():
        train, test = (self._extract(*encoder, source) for source in (self._bank, self.eval_source))
        rows.append(table.row(
          name, train, test, num_classes=self.train_source.num_classes, options=self.options,
          accuracy=self._accuracy(state, test) if name == 'trained' else None))
      return rows
    except TooFewLabels as error:
      raise ConfigError(f'config.eval.labels_per_class={self.options.labels_per_class}: {error}; ask for fewer, or '
                        f'raise config.eval.max_train_examples={self.options.max_train_examples}') from error

  def _accuracy(self, state: TrainState, test: Features) -> float | None:
    """Of the objective's own classifier; None where it has none."""
    if not hasattr(self.objective, 'classify'):
      return None
    logits = jax.jit(self.objective.classify)(state.ema_params, test.features)
    return float((logits.argmax(-1) == test.labels).mean())

  def _segmentation(self, params) -> dict[str, float]:
    confusion = segmentation.confusion(
      self._confuser, params, self.eval_source, classes=self.objective.map_classes, mesh=self.mesh,
      batch_size=self.options.batch_size, canvas=self.canvas, threads=self.threads,
      stall_timeout_s=self.stall_timeout_s)
    found = segmentation.scores(confusion)
    return {'mean_iou': found.mean_iou, 'pixel_accuracy': found.pixel_accuracy}

  @functools.cached_property
  def _confuser(self) -> segmentation.Confuser:
    return segmentation.jit_confuser(
      self.objective.segment, classes=self.objective.map_classes, size=self.size, mean=self.mean, std=self.std,
      mesh=self.mesh)

  @functools.cached_property
  def _bank(self) -> Source:
    return features.sample(self.train_source, self.options.max_train_examples)

  @functools.cached_property
  def _encoder(self) -> Encoder:
    view = functools.partial(features.class_token, size=self.size, crop_fraction=self.options.crop_fraction,
                             mean=self.mean, std=self.std)
    return features.jit_encoder(view(self.objective.encode), self.mesh)

  @functools.cached_property
  def _reconstructor(self) -> Encoder:
    def both(params, batch):
      images = eval_views(batch['image'], batch['size'], size=self.size, crop_fraction=self.options.crop_fraction,
                          mean=self.mean, std=self.std)
      return jnp.stack([images, self.objective.reconstruct(params, images)], axis=1)

    return features.jit_encoder(both, self.mesh)

  @property
  def _labelled(self) -> bool:
    return self.eval_source is not None and self.train_source.num_classes > 0

  def _extract(self, encoder: Callable, weights, source: Source, batch_size: int | None = None) -> Features:
    return features.extract(encoder, weights, source, mesh=self.mesh, batch_size=batch_size or self.options.batch_size,
                            canvas=self.canvas, threads=self.threads, stall_timeout_s=self.stall_timeout_s)
