"""Encoders under evaluation: of a state in training, of a workdir, and the baseline without an encoder."""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from maskrep import rng
from maskrep.devices.mesh import make_mesh
from maskrep.errors import ConfigError
from maskrep.evaluation import features
from maskrep.evaluation.encoding import Encoding
from maskrep.evaluation.features import EncodeFn
from maskrep.masking.tokens import num_kept, random_keep
from maskrep.models.encoder import KINDS, Preprocessing, represent
from maskrep.types import Array, Batch, Objective
from maskrep.weights.pretrained import Pretrained, digest, module, variables


class Encoder(Protocol):
  """An encoder under evaluation: a function from images to features, and the weights it takes.

  Attributes:
    name: identifies its function, which is compiled once for weights of any values.
    weights: the weights that the function takes besides images.
    as_trained: whether images are encoded as in training.
  """

  @property
  def name(self) -> str: ...

  @property
  def weights(self) -> Any: ...

  @property
  def as_trained(self) -> bool: ...

  def patch_counts(self, ratio: float) -> tuple[int, int]:
    """Returns the number of patches that a mask keeps, and the total number.

    Raises:
      ConfigError: the encoder cannot leave patches out, or none would be left.
    """
    ...

  def function(self, ratio: float, whole: bool, seed: int) -> EncodeFn:
    """The function from images to features, each image without a share `ratio` of its patches; `whole` squashes it."""
    ...

  def key(self, ratio: float, whole: bool, seed: int) -> dict:
    """Plain data: everything that features depend on, except the images."""
    ...

  @property
  def settings(self) -> dict:
    """The computation of features, as plain data."""
    ...


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class StoredEncoder:
  """The encoder of a run on disk, or an import.

  Attributes:
    what: the flag that named its folder, and its value, for errors.
    dtype: the dtype of the computation.
  """

  what: str
  pretrained: Pretrained
  encoding: Encoding
  dtype: jnp.dtype
  name: str = 'stored'

  def __post_init__(self):
    """Checks everything that can be checked without images.

    Raises:
      ConfigError: it is not an encoder, or it does not support the encoding.
    """
    kind, sizes = self.pretrained.kind, self.pretrained.config
    if self.preprocessing.size % sizes.get('patch_size', 1):
      raise ConfigError(f'config.encoding.size={self.preprocessing.size}: must be a multiple of the patches of '
                        f'{sizes["patch_size"]}')
    layers = module(kind, sizes).feature_layers
    if not self.encoding.final_norm and (kind == 'resnet' or not sizes.get('class_token', True)):
      raise ConfigError(f'config.encoding.final_norm=False: this encoder, a {kind}, has no class token')
    if self.encoding.layers > layers:
      raise ConfigError(f'config.encoding.layers={self.encoding.layers}: this encoder, a {kind}, has {layers} to give')

  @property
  def as_trained(self) -> bool:
    given = self.encoding
    return given == dataclasses.replace(
      given, network='ema', pooling='', layers=1, size=0, final_norm=True, crop_fraction=0.0)

  @functools.cached_property
  def weights(self) -> Any:
    return replicate(variables(self.pretrained.arrays))

  @functools.cached_property
  def digest(self) -> str:
    return digest(self.pretrained.arrays)

  @functools.cached_property
  def preprocessing(self) -> Preprocessing:
    trained = check_encoder(self.what, self.pretrained)
    fraction = self.encoding.crop_fraction
    crop = {'crop_fraction': fraction, 'squash': False} if fraction else {}
    return dataclasses.replace(trained, size=self.encoding.size or trained.size, **crop)

  @property
  def pooling(self) -> str:
    return self.encoding.pooling or (own_pooling(self.pretrained) if self.encoding.final_norm else 'class_token')

  @property
  def settings(self) -> dict:
    settings = dataclasses.asdict(self.encoding) | {'dtype': jnp.dtype(self.dtype).name}
    return settings | dataclasses.asdict(self.preprocessing) | {'pooling': self.pooling}

  def patch_counts(self, ratio: float) -> tuple[int, int]:
    patch_size = self.pretrained.config.get('patch_size', 1)
    drops_patches = KINDS[self.pretrained.kind].module.drops_patches
    return _patch_counts(self.what, self.pretrained.kind, drops_patches, self.preprocessing.size // patch_size, ratio)

  def function(self, ratio: float, whole: bool, seed: int) -> EncodeFn:
    encoder = module(self.pretrained.kind, self.pretrained.config, self.dtype)
    keep = _masks(self.patch_counts(ratio), seed)

    def encode(arrays, batch):
      images = self.preprocessing(batch['image'], batch['size'], whole=whole)
      return represent(encoder, arrays, images, keep(batch), pooling=self.pooling, layers=self.encoding.layers,
                       final_norm=self.encoding.final_norm)

    return encode

  def key(self, ratio: float, whole: bool, seed: int) -> dict:
    settings = {name: value for name, value in self.settings.items() if name != 'batch_size'}
    return {'weights': self.digest, 'kind': self.pretrained.kind, 'sizes': self.pretrained.config, 'settings': settings,
            'whole': whole} | ({'ratio': ratio, 'seed': seed} if ratio else {})


class TrainedObjective(NamedTuple):
  """An objective, its config as plain data, and its (params, model_state) on all devices; () for no weights."""

  objective: Objective
  config: dict[str, Any]
  dtype: jnp.dtype
  weights: tuple


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ObjectiveEncoder:
  """The encoder of an objective: 'cls' of its `encode`, or the logits that its classifier computes from it."""

  trained: TrainedObjective
  name: str = 'features'
  classify: Callable[[Any, Array], Array] | None = None
  as_trained: bool = True

  @property
  def weights(self) -> tuple:
    return self.trained.weights

  @functools.cached_property
  def digest(self) -> str:
    return digest(self.weights)

  @property
  def settings(self) -> dict:
    return dataclasses.asdict(self.trained.objective.preprocessing) | {
      'network': 'ema', 'dtype': jnp.dtype(self.trained.dtype).name}

  def patch_counts(self, ratio: float) -> tuple[int, int]:
    _, network = self.trained.objective.backbone
    kind, drops_patches = type(network).__name__, getattr(network, 'drops_patches', False)
    side = self.trained.objective.preprocessing.size // (network.patch_size if drops_patches else 1)
    return _patch_counts(f'config.method={self.trained.config["method"]!r}', kind, drops_patches, side, ratio)

  def function(self, ratio: float, whole: bool, seed: int) -> EncodeFn:
    objective, keep = self.trained.objective, _masks(self.patch_counts(ratio), seed)

    def encode(weights, batch):
      images = objective.preprocessing(batch['image'], batch['size'], whole=whole)
      params, model_state = weights
      encoded = objective.encode(params, model_state, images, keep(batch))['cls']
      return self.classify(params, encoded) if self.classify else encoded

    return encode

  def key(self, ratio: float, whole: bool, seed: int) -> dict:
    key = {'weights': self.digest, self.name: self.trained.config, 'whole': whole,
           'dtype': jnp.dtype(self.trained.dtype).name}
    return key | ({'ratio': ratio, 'seed': seed} if ratio else {})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pixels:
  """The baseline without an encoder, see `features.pixels`.

  Attributes:
    size: the side of the views in pixels.
    canvas: the side of the canvas in pixels.
  """

  size: int
  canvas: int
  name: str = 'pixels'
  weights: None = None
  as_trained: bool = False

  @property
  def settings(self) -> dict:
    return {'pixels': min(self.size, self.canvas)}

  def patch_counts(self, ratio: float) -> tuple[int, int]:
    return _patch_counts("config.eval.baselines: 'pixels'", 'baseline', False, self.size, ratio)

  def function(self, ratio: float, whole: bool, seed: int) -> EncodeFn:
    self.patch_counts(ratio)
    return features.pixels(self.size, self.canvas)

  def key(self, ratio: float, whole: bool, seed: int) -> dict:
    return self.settings


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


def replicate(arrays: Any) -> Any:
  """Copies arrays to all devices."""
  return jax.device_put(arrays, NamedSharding(make_mesh(), PartitionSpec()))


def _patch_counts(what: str, kind: str, drops_patches: bool, side: int, ratio: float) -> tuple[int, int]:
  """`Encoder.patch_counts` for side x side patches."""
  if ratio and not drops_patches:
    raise ConfigError(f'{what}: a {kind} sees all pixels, and no patch can be left out')
  try:
    return num_kept(side**2, ratio), side**2
  except ValueError as error:
    raise ConfigError(f'ratio={ratio}: {error}; choose a lower one') from error


def _masks(counts: tuple[int, int], seed: int) -> Callable[[Batch], Array | None]:
  """Returns a function that draws the patches each image of a batch keeps; None if it keeps all."""
  keep, patches = counts

  def draw(batch):
    if keep == patches:
      return None
    return random_keep(rng.per_example(rng.stream(seed, 'masks'), batch['position']), patches, keep)

  return draw
