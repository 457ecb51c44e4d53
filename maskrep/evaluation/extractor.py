"""An encoder under evaluation and its data: the one interface through which protocols get features and logits."""

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
  """How an image becomes a feature.

  Attributes:
    network: 'ema', or 'online' for the network that the EMA follows.
    pooling, layers: see `maskrep.models.represent`; a pooling of '' is that with which the run trains its encoder, as
      far as it says, else the class token.
    size: side of the image in pixels; 0 is what the encoder was trained or published with.
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
  """What represents an image to what the encoder was trained with."""
  return pretrained.source.get('pooling', 'class_token')


def check_encoder(workdir: Path, pretrained: Pretrained) -> Preprocessing:
  """What the images of an encoder go through.

  Raises:
    ConfigError: it is no encoder, or its images cannot be preprocessed here.
  """
  if pretrained.kind not in KINDS:
    raise ConfigError(f'--workdir={workdir}: holds a tokenizer, and encoders are evaluated')
  if (found := pretrained.preprocessing) is None:
    raise ConfigError(f'--workdir={workdir}: its encoder.json does not say how images are prepared; write '
                      '"preprocessing" into it: size, crop_fraction, filter, mean and std')
  if found.filter != 'bilinear':
    raise ConfigError(f'--workdir={workdir}: its images are resized with the filter {found.filter!r}, and here it is '
                      'bilinear; if that is near enough, say so in its encoder.json')
  return found


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FeatureExtractor:
  """Features and logits of images, by one encoder.

  Attributes:
    workdir: of the run, or of the import.
    pretrained: the encoder there.
    encoding: how an image becomes a feature.
    load_classifier: reads the classifier that the run trained; called once, if a protocol needs it.
    data: whose two splits are `train` and `eval`.
    seed: of masks.
    dtype: of the encoder's computation.
    images: fingerprints of the sources that were encoded so far, and how many images of each could be read.
    compiled: what encoded them.
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
    """Checks all that needs no images.

    Raises:
      ConfigError: it is no encoder, or cannot encode so.
    """
    kind, sizes = self.pretrained.kind, self.pretrained.config
    check_encoder(self.workdir, self.pretrained)
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
    """Of the weights."""
    return digest(self.pretrained.arrays)

  @property
  def record(self) -> dict:
    """Which weights were used, and how, as plain data: those of the classifier, if that was evaluated."""
    if '_trained' not in self.__dict__:
      return {'digest': self.digest, 'encoding': self.settings}
    objective, _, dtype, arrays = self._trained
    return {'digest': digest(arrays), 'encoding': dataclasses.asdict(objective.preprocessing) | {
      'network': 'ema', 'dtype': jnp.dtype(dtype).name}}

  @functools.cached_property
  def settings(self) -> dict:
    """How images become features, as plain data."""
    settings = dataclasses.asdict(self.encoding) | {'dtype': jnp.dtype(self.dtype).name}
    return settings | dataclasses.asdict(self._preprocessing) | {'pooling': self.pooling}

  @functools.cached_property
  def _preprocessing(self) -> Preprocessing:
    return dataclasses.replace(self.pretrained.preprocessing, size=self.size)

  @property
  def pooling(self) -> str:
    return self.encoding.pooling or own_pooling(self.pretrained)

  def labelled(self, one_split: bool = False) -> int:
    """The number of classes of the data, both splits of which are opened.

    Args:
      one_split: whether both may be the same.

    Raises:
      ConfigError: there are no labels, or no such split, or both are one.
    """
    if self.eval.fingerprint == self.train.fingerprint and not one_split:
      raise ConfigError(f'config.data.eval_split={self.data.eval_split!r}: is the training split too, and each image '
                        'would be judged by its own label; name another')
    if not self.train.num_classes:
      raise ConfigError(f'config.data.source={self.data.source!r}: has no labels, and this protocol needs them')
    return self.train.num_classes

  @property
  def classes(self) -> int:
    """Of the classifier that the run trained with its encoder.

    Raises:
      ConfigError: it trained none.
    """
    return self._trained.objective.num_classes

  def kept(self, ratio: float) -> tuple[int, int]:
    """How many patches a mask keeps, and of how many.

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
    """Of every image of a source that can be read, in its order, from the cache in `workdir` where they are there.

    Args:
      ratio: share of the patches that is dropped, by a mask of each image's own.
      whole: the whole image is seen, squashed to a square, and not its centre.

    Raises:
      ConfigError: the encoder cannot leave patches out, or none would be left.
    """
    settings = {name: value for name, value in self.settings.items() if name != 'batch_size'}
    key = {'weights': self.digest, 'kind': self.pretrained.kind, 'sizes': self.pretrained.config, 'settings': settings,
           'whole': whole} | ({'ratio': ratio, 'seed': self.seed} if ratio else {})
    return self._extracted(self._represent, (ratio, whole), self._arrays, source, key)

  def logits(self, source: Source, whole: bool = False) -> Features:
    """[M, C], of the classifier that the run trained, see `classes`, as the run itself evaluates it.

    Args:
      whole: as of `features`.
    """
    _, config, dtype, arrays = self._trained
    key = {'weights': digest(arrays), 'logits': config, 'whole': whole, 'dtype': jnp.dtype(dtype).name}
    return self._extracted(self._classify, (whole,), arrays, source, key)

  @functools.cached_property
  def _arrays(self):
    return _everywhere(variables(self.pretrained.arrays))

  @functools.cached_property
  def _trained(self) -> TrainedClassifier:
    return self.load_classifier()

  def _represent(self, ratio: float, whole: bool) -> EncodeFn:
    """The encoder of images of which a share of the patches is dropped."""
    encoder = module(self.pretrained.kind, self.pretrained.config, self.dtype)
    keep, patches = self.kept(ratio)

    def encode(arrays, batch):
      images = self._preprocessing(batch['image'], batch['size'], whole=whole)
      keys = rng.per_example(rng.stream(self.seed, 'masks'), batch['position'])
      return represent(encoder, arrays, images, random_keep(keys, patches, keep) if ratio else None,
                       pooling=self.pooling, layers=self.encoding.layers)

    return encode

  def _classify(self, whole: bool) -> EncodeFn:
    objective = self._trained.objective
    encoder = features.class_token(objective.encode, objective.preprocessing, whole=whole)
    return lambda arrays, batch: objective.classify(arrays[0], encoder(arrays, batch))

  def _extracted(
    self, encoder: Callable[..., EncodeFn], arguments: tuple, arrays, source: Source, key: dict
  ) -> Features:
    """By `encoder(*arguments)`, which is compiled once, where the cache does not know."""
    mesh, name = make_mesh(), (encoder.__name__, *arguments)

    def extract():
      if name not in self.compiled:
        self.compiled[name] = features.jit_encoder(encoder(*arguments), mesh)
      found = features.extract(
        self.compiled[name], arrays, source, mesh=mesh, batch_size=self.encoding.batch_size, canvas=self.data.canvas,
        threads=self.data.threads, stall_timeout_s=self.data.stall_timeout_s)
      broken = len(source) - len(found.labels)
      if broken > self.data.max_broken_fraction * len(source):
        raise DataError(f'config.data.max_broken_fraction={self.data.max_broken_fraction}: {broken} of {len(source)} '
                        f'images of {source.fingerprint} cannot be read; repair them, or raise the limit')
      return found

    found = cached(self.workdir / 'features', key | {'images': source.fingerprint, 'canvas': self.data.canvas},
                   len(source), extract)
    self.images[source.fingerprint] = len(found.labels)
    return found


def _everywhere(arrays):
  """Copied to all devices."""
  return jax.device_put(arrays, NamedSharding(make_mesh(), PartitionSpec()))
