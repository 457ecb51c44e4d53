"""An encoder under evaluation and its data: protocols get features and logits through it."""

from collections.abc import Callable
import dataclasses
import functools
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from maskrep import rng
from maskrep.data.datasets import Data, open_source
from maskrep.data.sources.source import Source
from maskrep.devices.mesh import make_mesh
from maskrep.errors import ConfigError, DataError
from maskrep.evaluation import features
from maskrep.evaluation.cache import cached
from maskrep.evaluation.features import EncodeFn, Features
from maskrep.masking.tokens import num_kept, random_keep
from maskrep.models.encoder import KINDS, POOLING, Preprocessing, represent
from maskrep.schema import Count, NonNegativeInt, OneOf, check
from maskrep.types import Objective
from maskrep.weights.pretrained import Pretrained, digest, module, variables

NETWORKS = 'ema', 'online'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoding:
  """The computation of features from images.

  Attributes:
    network: 'ema', or 'online' for the network that the EMA follows.
    pooling, layers: see `maskrep.models.encoder.represent`; a pooling of '' is that of the run's training, or the class
      token if it is unknown.
    size: side of the image in pixels; 0 is the size that the encoder was trained or published with.
    batch_size: images encoded at once, over all devices.
  """

  network: Annotated[str, OneOf(NETWORKS)]
  pooling: Annotated[str, OneOf(('', *POOLING))]
  layers: Count
  size: NonNegativeInt
  batch_size: Count

  def __post_init__(self):
    check(self)
    if self.batch_size % jax.device_count():
      raise ValueError(f'batch_size={self.batch_size}: must be a multiple of the {jax.device_count()} devices')


class TrainedClassifier(NamedTuple):
  """The classifier of a run: its objective, its config as plain data, and (params, model_state) on all devices."""

  objective: Objective
  config: dict[str, Any]
  dtype: jnp.dtype
  arrays: tuple


def own_pooling(pretrained: Pretrained) -> str:
  """Returns the pooling with which the encoder was trained."""
  return pretrained.source.get('pooling', 'class_token')


def check_encoder(what: str, pretrained: Pretrained) -> Preprocessing:
  """Returns the preprocessing of an encoder's images.

  Args:
    what: the flag or argument that named its folder, and its value, for errors.

  Raises:
    ConfigError: it is not an encoder, or the preprocessing is unknown or not supported.
  """
  if pretrained.kind not in KINDS:
    raise ConfigError(f'{what}: holds a tokenizer, and no encoder; give the run or import of an encoder')
  if (preprocessing := pretrained.preprocessing) is None:
    raise ConfigError(f'{what}: the JSON file beside its weights does not say how images are prepared; add '
                      '"preprocessing" to it: size, crop_fraction, filter, mean and std')
  if preprocessing.filter != 'bilinear':
    raise ConfigError(f'{what}: its images need the filter {preprocessing.filter!r}, but only bilinear is '
                      'supported; if that is close enough, set it in the JSON file beside its weights')
  return preprocessing


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FeatureExtractor:
  """Features and logits of images, by one encoder.

  Attributes:
    workdir: folder of the run or import.
    pretrained: its encoder.
    encoding: the computation of features.
    load_classifier: reads the classifier that the run trained; called once, if a protocol needs it.
    data: the data set, whose two splits are `train` and `eval`.
    seed: seed of masks.
    dtype: dtype of the encoder's computation.
    images: fingerprint -> number of readable images, of the sources encoded so far.
    compiled: the compiled encoders.
  """

  workdir: Path
  pretrained: Pretrained
  encoding: Encoding
  load_classifier: Callable[[], TrainedClassifier]
  data: Data
  seed: int
  dtype: jnp.dtype
  images: dict[str, int] = dataclasses.field(default_factory=dict)
  compiled: dict[tuple, EncodeFn] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    """Checks everything that needs no images.

    Raises:
      ConfigError: it is not an encoder, or it does not support the encoding.
    """
    kind, sizes = self.pretrained.kind, self.pretrained.config
    check_encoder(f'--workdir={self.workdir}', self.pretrained)
    if self.size % sizes.get('patch_size', 1):
      raise ConfigError(f'config.encoding.size={self.size}: must be a multiple of the patches of {sizes["patch_size"]}')
    layers = module(kind, sizes).feature_layers
    if self.encoding.layers > layers:
      raise ConfigError(f'config.encoding.layers={self.encoding.layers}: this encoder, a {kind}, has {layers} to give')

  @property
  def size(self) -> int:
    return self.encoding.size or self.pretrained.preprocessing.size

  @functools.cached_property
  def train(self) -> Source:
    return open_source(self.data, self.data.train_split)

  @functools.cached_property
  def eval(self) -> Source:
    if not self.data.eval_split:
      raise ConfigError("config.data.eval_split='': an encoder is judged on a split of its own; name one")
    return open_source(self.data, self.data.eval_split)

  @functools.cached_property
  def digest(self) -> str:
    """Digest of the weights."""
    return digest(self.pretrained.arrays)

  @property
  def record(self) -> dict:
    """The evaluated weights and their encoding, as plain data; those of the classifier, if it was evaluated."""
    if '_classifier' not in self.__dict__:
      return {'digest': self.digest, 'encoding': self.settings}
    objective, _, dtype, arrays = self._classifier
    return {'digest': digest(arrays), 'encoding': dataclasses.asdict(objective.preprocessing) | {
      'network': 'ema', 'dtype': jnp.dtype(dtype).name}}

  @functools.cached_property
  def settings(self) -> dict:
    """The computation of features, as plain data."""
    settings = dataclasses.asdict(self.encoding) | {'dtype': jnp.dtype(self.dtype).name}
    return settings | dataclasses.asdict(self._preprocessing) | {'pooling': self.pooling}

  @functools.cached_property
  def _preprocessing(self) -> Preprocessing:
    return dataclasses.replace(self.pretrained.preprocessing, size=self.size)

  @property
  def pooling(self) -> str:
    return self.encoding.pooling or own_pooling(self.pretrained)

  def require_labels(self, one_split: bool = False) -> int:
    """Opens both splits, checks that they have labels, and returns the number of classes.

    Args:
      one_split: whether both splits may be the same.

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
    """Number of classes of the classifier that the run trained with its encoder.

    Raises:
      ConfigError: the run trained none.
    """
    return self._classifier.objective.num_classes

  def patch_counts(self, ratio: float) -> tuple[int, int]:
    """Returns the number of patches that a mask keeps, and the number of all.

    Raises:
      ConfigError: the encoder cannot leave patches out, or none would be left.
    """
    if ratio and not KINDS[self.pretrained.kind].module.drops_patches:
      raise ConfigError(f'--workdir={self.workdir}: a {self.pretrained.kind} sees all pixels, and no patch can be left '
                        'out')
    patches = (self.size // self.pretrained.config.get('patch_size', 1)) ** 2
    try:
      return num_kept(patches, ratio), patches
    except ValueError as error:
      raise ConfigError(f'ratio={ratio}: {error}; choose a lower one') from error

  def features(self, source: Source, ratio: float = 0.0, whole: bool = False) -> Features:
    """Features of all readable images of a source, in its order, from the cache in `workdir` if they are in it.

    Args:
      ratio: share of the patches that is dropped, by a different mask per image.
      whole: the whole image is encoded, squashed to a square, instead of its centre.

    Raises:
      ConfigError: the encoder cannot leave patches out, or none would be left.
    """
    settings = {name: value for name, value in self.settings.items() if name != 'batch_size'}
    key = {'weights': self.digest, 'kind': self.pretrained.kind, 'sizes': self.pretrained.config, 'settings': settings,
           'whole': whole} | ({'ratio': ratio, 'seed': self.seed} if ratio else {})
    return self._extracted(self.encode_fn, (ratio, whole), self.arrays, source, key)

  def logits(self, source: Source, whole: bool = False) -> Features:
    """Logits [M, C] of the classifier that the run trained, evaluated as in the run.

    Args:
      whole: as in `features`.
    """
    _, config, dtype, arrays = self._classifier
    key = {'weights': digest(arrays), 'logits': config, 'whole': whole, 'dtype': jnp.dtype(dtype).name}
    return self._extracted(self._classify, (whole,), arrays, source, key)

  @functools.cached_property
  def arrays(self):
    return _replicate(variables(self.pretrained.arrays))

  @functools.cached_property
  def _classifier(self) -> TrainedClassifier:
    return self.load_classifier()

  def encode_fn(self, ratio: float, whole: bool) -> EncodeFn:
    """The encoder of images without a share of their patches."""
    encoder = module(self.pretrained.kind, self.pretrained.config, self.dtype)
    keep, patches = self.patch_counts(ratio)

    def encode(arrays, batch):
      images = self._preprocessing(batch['image'], batch['size'], whole=whole)
      keys = rng.per_example(rng.stream(self.seed, 'masks'), batch['position'])
      return represent(encoder, arrays, images, random_keep(keys, patches, keep) if ratio else None,
                       pooling=self.pooling, layers=self.encoding.layers)

    return encode

  def _classify(self, whole: bool) -> EncodeFn:
    objective = self._classifier.objective
    encoder = features.class_token(objective.encode, objective.preprocessing, whole=whole)
    return lambda arrays, batch: objective.classify(arrays[0], encoder(arrays, batch))

  def _extracted(
    self, encoder: Callable[..., EncodeFn], arguments: tuple, arrays, source: Source, key: dict
  ) -> Features:
    """Features from the cache, or else of the encoder `encoder(*arguments)`, which is compiled once."""
    mesh, name = make_mesh(), (encoder.__name__, *arguments)

    def extract():
      if name not in self.compiled:
        self.compiled[name] = features.jit_encoder(encoder(*arguments), mesh)
      extracted = features.extract(
        self.compiled[name], arrays, source, self.data, batch_size=self.encoding.batch_size, mesh=mesh)
      broken = len(source) - len(extracted.labels)
      if broken > self.data.max_broken_fraction * len(source):
        raise DataError(f'config.data.max_broken_fraction={self.data.max_broken_fraction}: {broken} of {len(source)} '
                        f'images of {source.fingerprint} cannot be read; repair them, or raise the limit')
      return extracted

    key = key | {'images': source.fingerprint, 'canvas': self.data.canvas}
    extracted = cached(self.workdir / 'features', key, len(source), extract)
    self.images[source.fingerprint] = len(extracted.labels)
    return extracted


def _replicate(arrays):
  """Copies arrays to all devices."""
  return jax.device_put(arrays, NamedSharding(make_mesh(), PartitionSpec()))
