"""Who is examined: an encoder, with the data of an evaluation. What protocols ask of an encoder goes through it."""

from collections.abc import Callable
import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from maskrep import rng
from maskrep.augment.highpass import high_pass_images
from maskrep.augment.views import eval_views
from maskrep.data.datasets import Data, open_source
from maskrep.data.sources.source import Source
from maskrep.devices.mesh import make_mesh
from maskrep.errors import ConfigError, DataError
from maskrep.evaluation import features
from maskrep.evaluation.cache import cached
from maskrep.evaluation.features import Encoder, Features
from maskrep.experiment import build, stored
from maskrep.masking.tokens import num_kept, random_keep
from maskrep.models.represent import POOLING, represent
from maskrep.weights.pretrained import Pretrained, module, variables

MASKABLE = 'vit', 'cait'


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

  network: str
  pooling: str
  layers: int
  size: int
  batch_size: int

  def __post_init__(self):
    if self.network not in stored.NETWORKS:
      raise ValueError(f'network={self.network!r}: must be {" or ".join(stored.NETWORKS)}')
    if self.pooling and self.pooling not in POOLING:
      raise ValueError(f"pooling={self.pooling!r}: must be one of {', '.join(POOLING)}, or '' for the run's own")
    for field, least in (('layers', 1), ('size', 0), ('batch_size', 1)):
      if getattr(self, field) < least:
        raise ValueError(f'{field}={getattr(self, field)}: must be at least {least}')
    if self.batch_size % jax.device_count():
      raise ValueError(f'batch_size={self.batch_size}: must be a multiple of the {jax.device_count()} devices')


def own_pooling(pretrained: Pretrained) -> str:
  """What represents an image to what the encoder was trained with."""
  return pretrained.source.get('pooling', 'class_token')


def preprocessing(workdir: Path, pretrained: Pretrained) -> dict:
  """How the images of an encoder are prepared, see `Pretrained`.

  Raises:
    ConfigError: it is no encoder, or its images cannot be prepared here.
  """
  how = pretrained.preprocessing
  if pretrained.kind == 'vqgan':
    raise ConfigError(f'--workdir={workdir}: is a tokenizer, and encoders are judged')
  if how is None:
    raise ConfigError(f'--workdir={workdir}: its encoder.json does not say how images are prepared; write '
                      '"preprocessing" into it: size, crop_fraction, filter, mean and std')
  if how['filter'] != 'bilinear':
    raise ConfigError(f'--workdir={workdir}: its images are resized with the filter {how["filter"]!r}, and here it is '
                      'bilinear; where that is near enough, say so in its encoder.json')
  return how


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
  """An encoder, how it is asked, and the data.

  Attributes:
    workdir: of the run, or of the import.
    pretrained: the encoder there.
    data: whose two splits are `train` and `eval`.
    seed: of masks.
    dtype: of the encoder's computation.
    images: fingerprints of the sources that were encoded so far, and how many images of each could be read.
    compiled: what encoded them.
  """

  workdir: Path
  pretrained: Pretrained
  encoding: Encoding
  data: Data
  seed: int
  dtype: jnp.dtype
  images: dict[str, int] = dataclasses.field(default_factory=dict)
  compiled: dict[tuple, Encoder] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    """Checks all that needs no images.

    Raises:
      ConfigError: it is no encoder, or cannot be asked so.
    """
    kind, sizes = self.pretrained.kind, self.pretrained.config
    preprocessing(self.workdir, self.pretrained)
    if self.size % sizes.get('patch_size', 1):
      raise ConfigError(f'config.encoding.size={self.size}: must be a multiple of the patches of {sizes["patch_size"]}')
    if self.encoding.layers > 1 and (kind != 'vit' or self.encoding.layers > sizes['depth']):
      raise ConfigError(f'config.encoding.layers={self.encoding.layers}: this encoder, a {kind}, has '
                        f'{sizes["depth"] if kind == "vit" else 1} to give')

  @property
  def size(self) -> int:
    return self.encoding.size or self.pretrained.preprocessing['size']

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
    return stored.digest(self.pretrained.arrays)

  @property
  def said(self) -> dict:
    """Which weights were asked, and how, as plain data: those of the classifier, where that was judged."""
    if '_trained' not in self.__dict__:
      return {'digest': self.digest, 'encoding': self.asked}
    objective, config, arrays = self._trained
    view = objective.view
    return {'digest': stored.digest(arrays), 'encoding': {
      'network': 'ema', 'size': view.size, 'mean': view.mean, 'std': view.std, 'filter': 'bilinear',
      'crop_fraction': config.eval.crop_fraction, 'dtype': jnp.dtype(build.compute_dtype(config)).name}}

  @functools.cached_property
  def asked(self) -> dict:
    """How images become features, as plain data."""
    asked = dataclasses.asdict(self.encoding) | {'dtype': jnp.dtype(self.dtype).name}
    return asked | self.pretrained.preprocessing | {'size': self.size, 'pooling': self.pooling}

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
    return self._trained[0].num_classes

  def kept(self, ratio: float) -> tuple[int, int]:
    """How many patches a mask keeps, and of how many.

    Raises:
      ConfigError: the encoder cannot leave patches out, or none would be left.
    """
    if ratio and self.pretrained.kind not in MASKABLE:
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
    asked = {name: value for name, value in self.asked.items() if name != 'batch_size'}
    key = {'weights': self.digest, 'kind': self.pretrained.kind, 'sizes': self.pretrained.config, 'asked': asked,
           'whole': whole} | ({'ratio': ratio, 'seed': self.seed} if ratio else {})
    return self._extracted(self._represent, (ratio, whole), self._arrays, source, key)

  def logits(self, source: Source, whole: bool = False) -> Features:
    """[M, C], of the classifier that the run trained, see `classes`, as the run itself evaluates it.

    Args:
      whole: as of `features`.
    """
    _, config, arrays = self._trained
    key = {'weights': stored.digest(arrays), 'logits': config.to_dict(), 'whole': whole,
           'dtype': jnp.dtype(build.compute_dtype(config)).name}
    return self._extracted(self._classify, (whole,), arrays, source, key)

  @functools.cached_property
  def _arrays(self):
    return _everywhere(variables(self.pretrained.arrays))

  @functools.cached_property
  def _trained(self):
    """The objective of the run, its config and (params, model_state)."""
    what = f'--workdir={self.workdir}'
    run = stored.stored(what, self.workdir)
    if not hasattr(run.objective, 'classify'):
      raise ConfigError(f'{what}: trained no classifier; run the protocol linear or finetune on it, and give the '
                        'folder in evaluations/ that this leaves')
    state = stored.restore(what, run)
    return run.objective, run.config, _everywhere((state.ema_params, state.model_state))

  def _represent(self, ratio: float, whole: bool) -> Encoder:
    """The encoder of images of which a share of the patches is dropped."""
    kind, sizes, how = self.pretrained.kind, self.pretrained.config, self.pretrained.preprocessing
    encoder, (keep, patches) = module(kind, sizes, self.dtype), self.kept(ratio)

    def encode(arrays, batch):
      images = eval_views(batch['image'], batch['size'], size=self.size, crop_fraction=how['crop_fraction'],
                          mean=tuple(how['mean']), std=tuple(how['std']), squash=whole or how.get('squash', False))
      keys = rng.per_example(rng.stream(self.seed, 'masks'), batch['position'])
      return represent(encoder, arrays, high_pass_images(images, how.get('high_pass_sigma', 0)),
                       random_keep(keys, patches, keep) if ratio else None,
                       pooling=self.pooling, layers=self.encoding.layers)

    return encode

  def _classify(self, whole: bool) -> Encoder:
    objective, config, _ = self._trained
    view = objective.view
    encoder = features.class_token(objective.encode, size=view.size, mean=view.mean, std=view.std,
                                   crop_fraction=config.eval.crop_fraction, squash=whole)
    return lambda arrays, batch: objective.classify(arrays[0], encoder(arrays, batch))

  def _extracted(
    self, encoder: Callable[..., Encoder], arguments: tuple, arrays, source: Source, key: dict
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
