"""An encoder under evaluation and its data: the interface through which protocols get features, logits and predictions.

It is used during training, with new weights at each evaluation, and afterwards, with features cached in the workdir.
Only here is an objective tested for the optional protocols `Classifies`, `Segments`, `Reconstructs` and `Assigns`.
"""

from collections.abc import Callable
import dataclasses
import functools
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from maskrep.data.datasets import Data, open_source
from maskrep.data.sources.source import Source
from maskrep.devices.mesh import make_mesh
from maskrep.errors import ConfigError, DataError
from maskrep.evaluation import features
from maskrep.evaluation.cache import cached
from maskrep.evaluation.encoders import Encoder, ObjectiveEncoder, StoredEncoder, TrainedObjective
from maskrep.evaluation.features import Features
from maskrep.evaluation.metrics import segmentation
from maskrep.evaluation.result import Result
from maskrep.models.encoder import Preprocessing
from maskrep.show.sheet import sheet_png
from maskrep.types import Assigns, Classifies, Objective, Reconstructs, Segments

PICTURES = 16  # images that are shown reconstructed

Ability = TypeVar('Ability')


def has_classifier(objective: Objective) -> bool:
  """True if the objective trains a classifier of its own."""
  return isinstance(objective, Classifies)


def able(objective: Objective, ability: type[Ability], refusal: str) -> Ability:
  """Returns the objective, typed as one with an optional protocol.

  Raises:
    ConfigError: with the refusal, if it lacks it.
  """
  if not isinstance(objective, ability):
    raise ConfigError(refusal)
  return objective


def classifying(what: str, objective: Objective) -> Classifies:
  """Returns the objective, typed as one with a classifier; `what` names the run, for errors.

  Raises:
    ConfigError: it has none.
  """
  return able(objective, Classifies, f'{what}: trained no classifier; run the protocol linear or finetune on it, and '
              'give the folder in evaluations/ that this leaves')


def assigning(what: str, objective: Objective) -> Assigns:
  """Returns the objective, typed as one with prototypes; otherwise as `classifying`."""
  return able(objective, Assigns, f'{what}: was trained without prototypes; give the workdir of a run of a method that '
              'has them, such as MSN')


def ends_in_accuracy(objective: Objective) -> bool:
  """True if the last evaluation of a run measures the accuracy of its predictions."""
  return isinstance(objective, (Classifies, Segments))


def check_classes(objective: Objective, name: str, train: Source) -> None:
  """Checks that an objective predicts the classes of a data set; `name` is the data set's, for errors.

  Raises:
    ConfigError: naming the field, its value and the remedy.
  """
  if isinstance(objective, Classifies) and objective.num_classes != train.num_classes:
    raise ConfigError(f'config.regularisation.num_classes={objective.num_classes}: {name} has '
                      f'{train.num_classes or "no"} classes; set it to that number')
  if isinstance(objective, Segments) and objective.map_classes != train.map_classes:
    if not train.map_classes:
      raise ConfigError(f'config.data.source={name}: has no label maps with known classes; use '
                        'digit_scenes, ade20k:PATH or another data set with them')
    raise ConfigError(f'config.objective.map_classes={objective.map_classes}: {name} has {train.map_classes} '
                      'classes; set it to that number')


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Evaluator:
  """Features, logits and predictions of the images of a data set, by one encoder.

  Attributes:
    what: the flag or field that named the encoder, and its value, for errors.
    encoder: computes features.
    data: how images are read.
    open_train, open_eval: open the two splits; called once, if a protocol needs them. None if there is no evaluation
      split.
    load_objective: loads the objective with its weights, for its own predictions; called once, if a protocol needs it.
    batch_size: images encoded at once, over all devices.
    seed: the seed of masks.
    cache: a folder for features; None keeps them in memory, until `of` replaces the weights.
    images: fingerprint -> number of readable images, for the sources encoded so far.
    compiled: the compiled functions.
    memory: features by function and source.
  """

  what: str
  encoder: Encoder
  data: Data
  open_train: Callable[[], Source]
  open_eval: Callable[[], Source | None]
  load_objective: Callable[[], TrainedObjective]
  batch_size: int
  seed: int
  mesh: Mesh
  cache: Path | None = None
  images: dict[str, int] = dataclasses.field(default_factory=dict)
  compiled: dict[Any, Callable] = dataclasses.field(default_factory=dict)
  memory: dict[tuple, Features] = dataclasses.field(default_factory=dict)

  @classmethod
  def stored(cls, workdir: Path, encoder: StoredEncoder, data: Data, *, seed: int,
             load_objective: Callable[[], TrainedObjective]) -> 'Evaluator':
    """The evaluator of a run on disk or an import; features are cached in `workdir`."""
    open_train = functools.partial(open_source, data, data.train_split)
    open_eval = functools.partial(open_source, data, data.eval_split) if data.eval_split else lambda: None
    return cls(what=encoder.what, encoder=encoder, data=data, open_train=open_train, open_eval=open_eval,
               load_objective=load_objective, batch_size=encoder.encoding.batch_size, seed=seed, mesh=make_mesh(),
               cache=workdir / 'features')

  def of(self, encoder: Encoder, trained: TrainedObjective) -> 'Evaluator':
    """The same evaluator for another encoder or other weights; compiled functions are reused."""
    return dataclasses.replace(self, encoder=encoder, load_objective=lambda: trained, images={}, memory={})

  @functools.cached_property
  def train(self) -> Source:
    return self.open_train()

  @functools.cached_property
  def eval(self) -> Source:
    if (source := self.open_eval()) is None:
      raise ConfigError("config.data.eval_split='': an encoder is judged on a split of its own; name one")
    return source

  def require_labels(self, one_split: bool = False) -> int:
    """Opens both splits, checks that they have labels, and returns the number of classes.

    Args:
      one_split: whether both splits may be the same split.

    Raises:
      ConfigError: there are no labels, a split does not exist, or both splits are the same.
    """
    if self.eval.fingerprint == self.train.fingerprint and not one_split:
      raise ConfigError(f'config.data.eval_split={self.data.eval_split!r}: is the training split too, so each image '
                        'would be its own training example; name another')
    if not self.train.num_classes:
      raise ConfigError(f'config.data.source={self.data.source!r}: has no labels, and this protocol needs them')
    return self.train.num_classes

  @property
  def classes(self) -> int:
    """Number of classes of the classifier that was trained with the encoder.

    Raises:
      ConfigError: none was trained.
    """
    return classifying(self.what, self._classifier.trained.objective).num_classes

  def patch_counts(self, ratio: float) -> tuple[int, int]:
    """See `Encoder.patch_counts`."""
    return self.encoder.patch_counts(ratio)

  def features(self, source: Source, ratio: float = 0.0, whole: bool = False) -> Features:
    """Features of all readable images of a source, in its order; each is computed once.

    Args:
      ratio: share of the patches that is dropped, with a different mask per image.
      whole: whether the complete image is encoded, squashed to a square, instead of its centre.

    Raises:
      ConfigError: the encoder cannot leave patches out, or none would be left.
      DataError: more images than `data.max_broken_fraction` cannot be read. In training the loader checks this.
    """
    return self._extracted(self.encoder, source, ratio, whole)

  def logits(self, source: Source, whole: bool = False) -> Features:
    """Logits [M, C] of the classifier that was trained with the encoder, evaluated as in its run.

    Args:
      whole: as in `features`.
    """
    return self._extracted(self._classifier, source, 0.0, whole)

  def predictions(self) -> list[Result]:
    """Accuracy of the objective's own predictions on the evaluation split: of classes of images, or of pixels.

    Raises:
      DataError: the objective segments, and no pixel of the evaluation split has a class.
    """
    objective, *_, weights = self.load_objective()
    if isinstance(objective, Classifies) and self.train.num_classes:
      test = self.features(self.eval)
      classify = self.compiled.setdefault('predictions', jax.jit(objective.classify))
      right = classify(weights[0], test.features).argmax(-1) == test.labels
      return [Result('top-1', float(right.mean()), metric='accuracy')]
    if isinstance(objective, Segments):
      confusion = self._confusion(objective, objective.preprocessing)
      scores = segmentation.scores(segmentation.confusion(
        confusion, weights, self.eval, self.data, classes=objective.map_classes, batch_size=self.batch_size,
        mesh=self.mesh))
      return [Result('mean IoU', scores.mean_iou, metric='mean_iou'),
              Result('pixel accuracy', scores.pixel_accuracy, metric='pixel_accuracy')]
    return []

  def pictures(self, source: Source) -> dict[str, bytes]:
    """Returns file name -> bytes of a PNG of images beside their reconstructions; {} if the objective makes none."""
    objective, *_, weights = self.load_objective()
    if not isinstance(objective, Reconstructs):
      return {}

    def both(params, batch):
      images = objective.preprocessing(batch['image'], batch['size'])
      return jnp.stack([images, objective.reconstruct(params, images)], axis=1)

    if 'pictures' not in self.compiled:
      self.compiled['pictures'] = features.jit_encoder(both, self.mesh)
    batch_size = -(-PICTURES // self.mesh.size) * self.mesh.size
    images = features.extract(self.compiled['pictures'], weights[0], features.sample(source, PICTURES), self.data,
                              batch_size=batch_size, mesh=self.mesh).features
    return {'reconstructions.png': sheet_png({'image': images[:, 0], 'reconstruction': images[:, 1]})}

  @property
  def record(self) -> dict:
    """The evaluated weights and their encoding, as plain data, and those of the classifier if it was evaluated."""
    encoder = self.__dict__.get('_classifier', self.encoder)
    return {'digest': encoder.digest, 'encoding': encoder.settings}

  @functools.cached_property
  def _classifier(self) -> ObjectiveEncoder:
    trained = self.load_objective()
    return ObjectiveEncoder(trained=trained, name='logits', classify=classifying(self.what, trained.objective).classify)

  def _confusion(self, objective: Segments, preprocessing: Preprocessing) -> segmentation.ConfusionFn:
    if 'confusion' not in self.compiled:
      self.compiled['confusion'] = segmentation.jit_confusion(
        lambda weights, images: objective.segment(weights[0], weights[1], images), preprocessing,
        classes=objective.map_classes, stride=objective.stride, mesh=self.mesh)
    return self.compiled['confusion']

  def _extracted(self, encoder: Encoder, source: Source, ratio: float, whole: bool) -> Features:
    """Features from the cache or from memory, or else computed by the encoder's function, which is compiled once."""
    function = encoder.name, ratio, whole

    def extract():
      if function not in self.compiled:
        self.compiled[function] = features.jit_encoder(encoder.function(ratio, whole, self.seed), self.mesh)
      extracted = features.extract(
        self.compiled[function], encoder.weights, source, self.data, batch_size=self.batch_size, mesh=self.mesh)
      broken = len(source) - len(extracted.labels)
      if self.cache and broken > self.data.max_broken_fraction * len(source):
        raise DataError(f'config.data.max_broken_fraction={self.data.max_broken_fraction}: {broken} of {len(source)} '
                        f'images of {source.fingerprint} cannot be read; repair them, or raise the limit')
      return extracted

    if self.cache:
      key = encoder.key(ratio, whole, self.seed) | {'images': source.fingerprint, 'canvas': self.data.canvas}
      extracted = cached(self.cache, key, len(source), extract)
    else:
      place = *function, source.fingerprint
      extracted = self.memory[place] = self.memory.get(place) or extract()
    self.images[source.fingerprint] = len(extracted.labels)
    return extracted
