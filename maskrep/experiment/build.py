"""From a config to objects. The only tables of names in the repo."""

from collections.abc import Callable, Mapping
import dataclasses
import difflib
import types
import typing
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from maskrep.augment.regularisation import Regularise
from maskrep.augment.views import View
from maskrep.errors import ConfigError
from maskrep.masking.pixels import PixelMask
from maskrep.masking.tokens import num_kept
from maskrep.methods.classify import Classify
from maskrep.methods.extrema import ExtreMA
from maskrep.methods.mim import SupervisedMIM
from maskrep.methods.mscn import MSCN
from maskrep.methods.msn import MSN
from maskrep.methods.segment import Segment
from maskrep.methods.vqgan import TrainVQGAN
from maskrep.models import resnet
from maskrep.models.cait import INSTANCE, POSITIONS, CaiT
from maskrep.models.decoder import TokenDecoder
from maskrep.models.discriminator import PatchDiscriminator
from maskrep.models.heads import Classifier, MLPHead, ProjectionHead, SiameseHead
from maskrep.models.resnet import ResNet
from maskrep.models.transformer import INITIALIZERS
from maskrep.models.vit import ViT
from maskrep.models.vqgan import DESIGNS, VQGAN
from maskrep.types import Objective

DTYPES = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}


@dataclasses.dataclass(frozen=True, kw_only=True)
class OneView:
  """How a view is made, see `View`."""

  size: int
  crop_scale: tuple[float, float]
  flip: float
  jitter: float
  jitter_strength: tuple[float, float, float, float]
  grey: float
  blur: float
  solarise: float
  mean: tuple[float, float, float]
  std: tuple[float, float, float]

  def __post_init__(self):
    if self.size < 1:
      raise ValueError(f'size={self.size}: must be at least 1')
    _check_scale('crop_scale', self.crop_scale)
    for field in ('flip', 'jitter', 'grey', 'blur', 'solarise'):
      if not 0 <= getattr(self, field) <= 1:
        raise ValueError(f'{field}={getattr(self, field)}: is a probability, in [0, 1]')

  def view(self, **changes) -> View:
    return View(**{field.name: getattr(self, field.name) for field in dataclasses.fields(OneView)} | changes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SiameseViews(OneView):
  """MSN's views of one image: a whole one, masked ones of the same recipe, and small focal ones."""

  focal_size: int
  focal_crop_scale: tuple[float, float]
  num_random: int
  num_focal: int

  def __post_init__(self):
    super().__post_init__()
    for field, least in (('focal_size', 1), ('num_random', 1), ('num_focal', 0)):
      if getattr(self, field) < least:
        raise ValueError(f'{field}={getattr(self, field)}: must be at least {least}')
    _check_scale('focal_crop_scale', self.focal_crop_scale)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairedViews(OneView):
  """ExtreMA's views of one image: the student's, of which masks show parts, and the teacher's.

  Two augmentations draw the colours of each apart, and the crop too unless it is shared; one shows both the same.
  """

  augmentations: int
  shared_crop: bool

  def __post_init__(self):
    super().__post_init__()
    if self.augmentations not in (1, 2):
      raise ValueError(f'augmentations={self.augmentations}: must be 1 or 2')


@dataclasses.dataclass(frozen=True, kw_only=True)
class SupervisedViews(OneView):
  """The one view of supervised learning, with RandAugment on top; both streams of supervised + MIM see it."""

  rand_layers: int
  rand_magnitude: float
  rand_deviation: float = 0.0

  def __post_init__(self):
    super().__post_init__()
    for field in ('rand_layers', 'rand_magnitude', 'rand_deviation'):
      if not 0 <= getattr(self, field) < float('inf'):
        raise ValueError(f'{field}={getattr(self, field)}: must be finite and not negative')

  def view(self) -> View:
    return super().view(rand_layers=self.rand_layers, rand_magnitude=self.rand_magnitude,
                        rand_deviation=self.rand_deviation)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenMask:
  """The share of patches that a masked view drops, and whether a whole batch shares one mask."""

  ratio: float
  shared: bool

  def __post_init__(self):
    if not 0 <= self.ratio < 1:
      raise ValueError(f'ratio={self.ratio}: must be in [0, 1), for example 0.3')


@dataclasses.dataclass(frozen=True, kw_only=True)
class StreamMasks:
  """The share of patches that each stream of supervised + MIM drops."""

  ratio: float
  supervised_ratio: float

  def __post_init__(self):
    for field in ('ratio', 'supervised_ratio'):
      if not 0 <= getattr(self, field) < 1:
        raise ValueError(f'{field}={getattr(self, field)}: must be in [0, 1), for example 0.2')


@dataclasses.dataclass(frozen=True, kw_only=True)
class DisjointMasks:
  """The share of patches that each mask drops, and how many masks, with no patch in common, an image gets."""

  ratio: float
  count: int

  def __post_init__(self):
    if not 0 <= self.ratio < 1:
      raise ValueError(f'ratio={self.ratio}: must be in [0, 1), for example 0.8')
    if self.count < 1:
      raise ValueError(f'count={self.count}: must be at least 1')


@dataclasses.dataclass(frozen=True, kw_only=True)
class MIMTarget:
  """What masked image modelling predicts."""

  kind: str  # tokens, or pixels
  size: int  # pixels of the square that the tokenizer sees
  weights: str  # workdir of the run that trained the tokenizer, or an import

  def __post_init__(self):
    if self.kind not in ('tokens', 'pixels'):
      raise ValueError(f'kind={self.kind!r}: must be tokens or pixels')


def section(cls, config: Mapping[str, Any], name: str, **given):
  """`cls(**config, **given)`, with every field checked.

  Raises:
    ConfigError: a field that `cls` does not have, one that is missing, of another type or out of range.
  """
  annotations = typing.get_type_hints(cls)
  fields = {field.name for field in dataclasses.fields(cls)} - {'parent', 'name'} - given.keys()
  for key, value in config.items():
    if key not in fields:
      near = difflib.get_close_matches(key, fields, 1)
      hint = f'did you mean {name}.{near[0]}?' if near else f'the fields are {", ".join(sorted(fields))}'
      raise ConfigError(f'config.{name}.{key}={value!r}: nothing reads this field; {hint}')
    if not _is_of(value, annotations[key]):
      raise ConfigError(f'config.{name}.{key}={value!r}: must be {_described(annotations[key])}, '
                        f'not {type(value).__name__}')
  required = {field.name for field in dataclasses.fields(cls) if field.default is dataclasses.MISSING}
  if missing := sorted((required & fields) - set(config.keys())):
    raise ConfigError(f'config.{name}.{missing[0]}: is missing; add it to the config file')
  try:
    return cls(**config, **given)
  except ValueError as error:
    raise ConfigError(f'config.{name}.{error}') from error


def method(config: ConfigDict) -> 'Method':
  """The method that `config.method` names."""
  if config.method not in METHODS:
    raise ConfigError(f'config.method={config.method!r}: must be one of {", ".join(METHODS)}')
  return METHODS[config.method]


def build_objective(config: ConfigDict) -> Objective:
  """The objective of `config.method`, with its encoder and views.

  Raises:
    ConfigError: a field of its sections cannot be right.
  """
  return method(config).build(config)


def compute_dtype(config: ConfigDict) -> jnp.dtype:
  """'auto' is bfloat16 on an accelerator and float32 on a CPU, whose bfloat16 is slow."""
  if config.compute_dtype == 'auto':
    return jnp.float32 if jax.default_backend() == 'cpu' else jnp.bfloat16
  if config.compute_dtype not in DTYPES:
    raise ConfigError(f'config.compute_dtype={config.compute_dtype!r}: must be auto, {" or ".join(DTYPES)}')
  return DTYPES[config.compute_dtype]


def _msn(config: ConfigDict) -> MSN:
  views = section(SiameseViews, config.views, 'views')
  mask = section(TokenMask, config.masking, 'masking')
  encoder = _encoder(ViT, config, image_size=views.size)
  for field in ('size', 'focal_size'):
    _check_patches(field, getattr(views, field), encoder.patch_size)
  _num_kept(views.size, encoder.patch_size, 'masking.ratio', mask.ratio)
  whole = views.view()
  return section(
    MSN, config.objective, 'objective', encoder=encoder, head=_head(ProjectionHead, config, 'head'),
    target_view=whole, anchor_view=whole,
    focal_view=views.view(size=views.focal_size, crop_scale=views.focal_crop_scale),
    num_random=views.num_random, num_focal=views.num_focal, ratio=mask.ratio, shared_mask=mask.shared,
    microbatch=config.train.microbatch)


def _extrema(config: ConfigDict) -> ExtreMA:
  views = section(PairedViews, config.views, 'views')
  mask = section(DisjointMasks, config.masking, 'masking')
  encoder = _cait(config, views.size)
  patches = (views.size // encoder.patch_size) ** 2
  keep = _num_kept(views.size, encoder.patch_size, 'masking.ratio', mask.ratio)
  if mask.count * keep > patches:
    raise ConfigError(f'config.masking.count={mask.count}: so many disjoint masks of {keep} patches need '
                      f'{mask.count * keep}, and there are {patches}; choose at most {patches // keep}, or raise '
                      'config.masking.ratio')
  return section(
    ExtreMA, config.objective, 'objective', encoder=encoder, projector=_head(MLPHead, config, 'projector'),
    predictor=_head(MLPHead, config, 'predictor'), view=views.view(), augmentations=views.augmentations,
    shared_crop=views.shared_crop, ratio=mask.ratio, num_masks=mask.count, microbatch=config.train.microbatch)


def _mim(config: ConfigDict) -> SupervisedMIM:
  views = section(SupervisedViews, config.views, 'views')
  mask = section(StreamMasks, config.masking, 'masking')
  encoder = _vit(config, views.size)
  for field in ('ratio', 'supervised_ratio'):
    _num_kept(views.size, encoder.patch_size, f'masking.{field}', getattr(mask, field))
  regularise = section(Regularise, config.regularisation, 'regularisation')
  target = section(MIMTarget, config.target, 'target')
  grid, tokenizer, output = views.size // encoder.patch_size, None, 3 * encoder.patch_size**2
  if target.kind == 'tokens':
    tokenizer = _tokenizer(config)
    output = tokenizer.codebook_size
    if target.size != grid * tokenizer.stride:
      raise ConfigError(
        f'config.target.size={target.size}: has {target.size / tokenizer.stride:g} tokens along a side, and the view '
        f'{grid} patches; both must be the same: choose {grid * tokenizer.stride}, or another encoder.patch_size')
  decoder = section(TokenDecoder, config.decoder, 'decoder', patches=grid**2, output=output,
                    weight_init=encoder.weight_init, dtype=compute_dtype(config))
  _check_heads('decoder', decoder)
  mim = section(
    SupervisedMIM, config.objective, 'objective', encoder=encoder,
    classifier=Classifier(regularise.num_classes), decoder=decoder, tokenizer=tokenizer,
    view=views.view(), regularise=regularise, ratio=mask.ratio, supervised_ratio=mask.supervised_ratio,
    microbatch=config.train.microbatch)
  if mim.masked_only and num_kept(grid**2, mask.ratio) == grid**2:
    raise ConfigError(f'config.objective.masked_only=True: config.masking.ratio={mask.ratio} drops none of {grid**2} '
                      'patches, and nothing would be predicted; raise it')
  return mim


def _mscn(config: ConfigDict) -> MSCN:
  views = section(OneView, config.views, 'views')
  masks = {name: section(PixelMask, config[name], name) for name in ('first_mask', 'second_mask')}
  for name, mask in masks.items():
    if views.size % mask.cell:
      raise ConfigError(f'config.{name}.cell={mask.cell}: must divide config.views.size={views.size}')
    _num_kept(views.size, mask.cell, f'{name}.ratio', mask.ratio)
  objective = section(
    MSCN, config.objective, 'objective', encoder=_resnet(config), projector=_head(SiameseHead, config, 'projector'),
    predictor=_head(SiameseHead, config, 'predictor') if 'predictor' in config else None, view=views.view(),
    microbatch=config.train.microbatch, **masks)
  if objective.loss_kind == 'infonce':
    for field in ('ema_momentum', 'final_ema_momentum'):
      if config.optim[field]:
        raise ConfigError(f'config.optim.{field}={config.optim[field]}: must be 0 with infonce, which has no teacher: '
                          'its batch statistics are those of the student')
  return objective


def _classify(config: ConfigDict) -> Classify:
  views = section(SupervisedViews, config.views, 'views')
  encoder = _any_encoder(config, views.size, ('vit', 'cait', 'resnet'))
  regularise = section(Regularise, config.regularisation, 'regularisation')
  objective = section(
    Classify, config.objective, 'objective', encoder=encoder, view=views.view(), regularise=regularise,
    microbatch=config.train.microbatch)
  moving = ((objective.input_norm == 'batch' and objective.trained != 'head')
            or (config.encoder_kind == 'resnet' and objective.trained == 'all'))
  for field in ('ema_momentum', 'final_ema_momentum'):
    if moving and config.optim[field]:
      raise ConfigError(f'config.optim.{field}={config.optim[field]}: must be 0 where running statistics move with the '
                        'encoder: they are those of the weights that are trained, not of their average')
  return objective


def _vit(config: ConfigDict, size: int) -> ViT:
  """For whole views of `size` pixels."""
  encoder = _encoder(ViT, config, image_size=size)
  _check_patches('size', size, encoder.patch_size)
  return encoder


def _cait(config: ConfigDict, size: int) -> CaiT:
  """For whole views of `size` pixels."""
  encoder = _encoder(CaiT, config, image_size=size)
  _at_least_one('encoder', encoder, 'class_depth')
  if encoder.positions == 'sincos' and encoder.width % 4:
    raise ConfigError(f'config.encoder.width={encoder.width}: must be a multiple of 4, for sine-cosine positions')
  _check_patches('size', size, encoder.patch_size)
  return encoder


def _any_encoder(config: ConfigDict, size: int, kinds: tuple[str, ...]) -> ViT | CaiT | ResNet:
  """The one that `config.encoder_kind` names, for whole views of `size` pixels."""
  if config.encoder_kind not in kinds:
    raise ConfigError(f'config.encoder_kind={config.encoder_kind!r}: must be one of {", ".join(kinds)}; '
                      'python -m maskrep evaluate takes it from the encoder at --workdir')
  return {'vit': _vit, 'cait': _cait, 'resnet': lambda config, size: _resnet(config)}[config.encoder_kind](config, size)


def _resnet(config: ConfigDict) -> ResNet:
  encoder = section(ResNet, config.encoder, 'encoder', dtype=compute_dtype(config))
  try:
    resnet.check(encoder.depth, encoder.stem, encoder.width)
  except ValueError as error:
    raise ConfigError(f'config.encoder.{error}') from error
  return encoder


def _vqgan(config: ConfigDict) -> TrainVQGAN:
  views, tokenizer = section(OneView, config.views, 'views'), _tokenizer(config)
  discriminator = section(PatchDiscriminator, config.discriminator, 'discriminator', dtype=compute_dtype(config))
  _at_least_one('discriminator', discriminator, 'width', 'layers', 'groups')
  if discriminator.width % discriminator.groups and discriminator.layers > 1:
    raise ConfigError(f'config.discriminator.groups={discriminator.groups}: must divide '
                      f'config.discriminator.width={discriminator.width}')
  try:
    return section(TrainVQGAN, config.objective, 'objective', tokenizer=tokenizer, discriminator=discriminator,
                   view=views.view(), microbatch=config.train.microbatch)
  except ConfigError as error:
    # What the objective says of its view is said of another section here.
    raise ConfigError(str(error).replace('config.objective.view.', 'config.views.')) from error


def _tokenizer(config: ConfigDict) -> VQGAN:
  tokenizer = section(VQGAN, config.tokenizer, 'tokenizer', dtype=compute_dtype(config))
  _at_least_one('tokenizer', tokenizer, 'channels', 'encoder_blocks', 'decoder_blocks', 'embedding', 'codebook_size',
                'groups')
  low, high = tokenizer.input_range
  if not -float('inf') < low < high < float('inf'):
    raise ConfigError(f'config.tokenizer.input_range={low, high}: must be finite and rising, for example (0.0, 1.0)')
  levels = len(tokenizer.multipliers)
  if not levels:
    raise ConfigError('config.tokenizer.multipliers=(): must name a level, for example (1, 2)')
  if not all(0 <= level < levels for level in tokenizer.attention_levels):
    raise ConfigError(f'config.tokenizer.attention_levels={tokenizer.attention_levels}: there are levels 0 to '
                      f'{levels - 1}')
  for multiplier in tokenizer.multipliers:
    if multiplier < 1 or tokenizer.channels * multiplier % tokenizer.groups:
      raise ConfigError(f'config.tokenizer.multipliers={tokenizer.multipliers}: times channels={tokenizer.channels} '
                        f'they must be multiples of groups={tokenizer.groups}')
  if tokenizer.design not in DESIGNS:
    raise ConfigError(f'config.tokenizer.design={tokenizer.design!r}: must be {" or ".join(DESIGNS)}')
  if tokenizer.attention_levels and tokenizer.design != 'taming':
    raise ConfigError(f'config.tokenizer.attention_levels={tokenizer.attention_levels}: design '
                      f'{tokenizer.design!r} has no attention; leave it ()')
  return tokenizer


def _segment(config: ConfigDict) -> Segment:
  views = section(OneView, config.views, 'views')
  encoder = _any_encoder(config, views.size, ('vit', 'cait'))
  return section(Segment, config.objective, 'objective', encoder=encoder, view=views.view(),
                 microbatch=config.train.microbatch)


class Method(NamedTuple):
  """How an objective is built, from the sections of a config that are its own.

  With `ghost_batches` its trunk has batch norm, so microbatches change what is trained, not only round-off.
  """

  build: Callable[[ConfigDict], Objective]
  sections: tuple[str, ...]
  optional: tuple[str, ...] = ()
  ghost_batches: bool = False


METHODS = {
  'msn': Method(_msn, ('views', 'masking', 'encoder', 'head', 'objective')),
  'extrema': Method(_extrema, ('views', 'masking', 'encoder', 'projector', 'predictor', 'objective')),
  'mscn': Method(
    _mscn, ('views', 'first_mask', 'second_mask', 'encoder', 'projector', 'objective'), optional=('predictor',),
    ghost_batches=True),
  'mim': Method(_mim, ('views', 'masking', 'encoder', 'decoder', 'target', 'tokenizer', 'regularisation', 'objective')),
  'segment': Method(_segment, ('views', 'encoder_kind', 'encoder', 'objective')),
  'classify': Method(
    _classify, ('views', 'encoder_kind', 'encoder', 'regularisation', 'objective'), ghost_batches=True),
  'vqgan': Method(_vqgan, ('views', 'tokenizer', 'discriminator', 'objective')),
}


def _encoder(cls, config: ConfigDict, **given):
  """An encoder module, whose sizes are checked here: modules cannot do so before they are used."""
  encoder = section(cls, config.encoder, 'encoder', dtype=compute_dtype(config), **given)
  _at_least_one('encoder', encoder, 'patch_size')
  _check_heads('encoder', encoder)
  for field in ('drop_path', 'dropout'):
    if not 0 <= getattr(encoder, field, 0) < 1:
      raise ConfigError(f'config.encoder.{field}={getattr(encoder, field)}: must be in [0, 1), for example 0.1')
  for field, known in {'weight_init': INITIALIZERS, 'instance': INSTANCE, 'positions': POSITIONS}.items():
    if getattr(encoder, field, next(iter(known))) not in known:
      raise ConfigError(f'config.encoder.{field}={getattr(encoder, field)!r}: must be one of {", ".join(known)}')
  return encoder


def _head(cls, config: ConfigDict, name: str):
  head = section(cls, config[name], name, dtype=compute_dtype(config))
  _at_least_one(name, head, 'hidden', 'output', 'layers')
  return head


def _check_heads(name: str, transformer) -> None:
  _at_least_one(name, transformer, 'width', 'depth', 'heads')
  if transformer.width % transformer.heads:
    raise ConfigError(f'config.{name}.heads={transformer.heads}: must divide config.{name}.width={transformer.width}')


def _at_least_one(name: str, module, *fields: str) -> None:
  for field in fields:
    if getattr(module, field) < 1:
      raise ConfigError(f'config.{name}.{field}={getattr(module, field)}: must be at least 1')


def _check_scale(field: str, scale: tuple[float, float]) -> None:
  low, high = scale
  if not 0 < low <= high <= 1:
    raise ValueError(f'{field}={low, high}: must be rising within (0, 1], for example (0.3, 1.0)')


def _check_patches(field: str, size: int, patch: int) -> None:
  if size % patch:
    raise ConfigError(f'config.views.{field}={size}: must be a multiple of config.encoder.patch_size={patch}, '
                      f'for example {max(size // patch, 1) * patch}')


def _num_kept(size: int, patch: int, field: str, ratio: float) -> int:
  try:
    return num_kept((size // patch) ** 2, ratio)
  except ValueError as error:
    raise ConfigError(f'config.{field}={ratio}: {error}; choose a lower ratio') from error


def _is_of(value: Any, annotation: Any) -> bool:
  if annotation is float:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
  if annotation is int:
    return isinstance(value, int) and not isinstance(value, bool)
  if typing.get_origin(annotation) is tuple:
    items = typing.get_args(annotation)
    if not isinstance(value, tuple):
      return False
    if items[-1] is Ellipsis:
      return all(_is_of(item, items[0]) for item in value)
    return len(value) == len(items) and all(map(_is_of, value, items))
  return isinstance(value, annotation)


def _described(annotation: Any) -> str:
  if isinstance(annotation, types.GenericAlias):
    return str(annotation)
  return {int: 'a whole number', float: 'a number', bool: 'true or false', str: 'text'}[annotation]
