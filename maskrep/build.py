"""From a config to objects. The only tables of names in the repo."""

from collections.abc import Mapping
import dataclasses
import difflib
import types
import typing
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from maskrep.augment.view import View
from maskrep.data import sources
from maskrep.errors import ConfigError
from maskrep.models.heads import ProjectionHead
from maskrep.models.vit import ViT
from maskrep.objectives.msn import MSN
from maskrep.types import Objective

SECTIONS = ('data', 'views', 'masking', 'encoder', 'head', 'objective', 'optim', 'train', 'eval')
DTYPES = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
  """Which images, and how the host reads them."""

  source: str  # digits, tfds:NAME, folder:PATH
  train_split: str
  eval_split: str  # '' where there is none
  download: bool
  canvas: int  # side of the uint8 canvas in pixels; larger images are reduced to fit
  threads: int  # that read and decode
  max_broken_fraction: float
  stall_timeout_s: int  # without an image before the stacks are dumped; the run ends after twice as long

  def __post_init__(self):
    for field in ('canvas', 'threads', 'stall_timeout_s'):
      if getattr(self, field) < 1:
        raise ValueError(f'{field}={getattr(self, field)}: must be at least 1')
    if not 0 <= self.max_broken_fraction <= 1:
      raise ValueError(f'max_broken_fraction={self.max_broken_fraction}: must be in [0, 1]')


@dataclasses.dataclass(frozen=True, kw_only=True)
class SiameseViews:
  """The views of one image: a whole one, masked ones of the same recipe, and small focal ones; see `View`."""

  size: int
  focal_size: int
  num_random: int
  num_focal: int
  crop_scale: tuple[float, float]
  focal_crop_scale: tuple[float, float]
  flip: float
  jitter: float
  jitter_strength: tuple[float, float, float, float]
  grey: float
  blur: float
  solarise: float
  mean: tuple[float, float, float]
  std: tuple[float, float, float]

  def __post_init__(self):
    for field in ('size', 'focal_size', 'num_random'):
      if getattr(self, field) < 1:
        raise ValueError(f'{field}={getattr(self, field)}: must be at least 1')
    if self.num_focal < 0:
      raise ValueError(f'num_focal={self.num_focal}: must be at least 0')
    for field in ('crop_scale', 'focal_crop_scale'):
      low, high = getattr(self, field)
      if not 0 < low <= high <= 1:
        raise ValueError(f'{field}={low, high}: must be rising within (0, 1], for example (0.3, 1.0)')
    for field in ('flip', 'jitter', 'grey', 'blur', 'solarise'):
      if not 0 <= getattr(self, field) <= 1:
        raise ValueError(f'{field}={getattr(self, field)}: is a probability, in [0, 1]')

  def view(self, size: int, crop_scale: tuple[float, float]) -> View:
    own = ('size', 'focal_size', 'num_random', 'num_focal', 'crop_scale', 'focal_crop_scale')
    shared = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name not in own}
    return View(size=size, crop_scale=crop_scale, **shared)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenMask:
  """The share of patches that a masked view drops, and whether a whole batch shares one mask."""

  ratio: float
  shared: bool

  def __post_init__(self):
    if not 0 <= self.ratio < 1:
      raise ValueError(f'ratio={self.ratio}: must be in [0, 1), for example 0.3')


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


def build_source(data: Data, split: str) -> sources.Source:
  """Opens a split of `data.source`."""
  kind, _, name = data.source.partition(':')
  if kind == 'digits' and not name:
    return sources.Digits(split)
  if kind == 'tfds' and name:
    return sources.TFDS(name, split, download=data.download)
  if kind == 'folder' and name:
    return sources.Folder(name, split)
  raise ConfigError(f'config.data.source={data.source!r}: must be digits, tfds:NAME or folder:PATH')


def build_objective(config: ConfigDict) -> Objective:
  """The objective that `config.method` names, with its encoder and views."""
  if config.method not in OBJECTIVES:
    raise ConfigError(f'config.method={config.method!r}: must be one of {", ".join(OBJECTIVES)}')
  return OBJECTIVES[config.method](config)


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
  dtype = compute_dtype(config)
  whole = views.view(views.size, views.crop_scale)
  return section(
    MSN, config.objective, 'objective',
    encoder=section(ViT, config.encoder, 'encoder', image_size=views.size, dtype=dtype),
    head=section(ProjectionHead, config.head, 'head', dtype=dtype),
    target_view=whole, anchor_view=whole, focal_view=views.view(views.focal_size, views.focal_crop_scale),
    num_random=views.num_random, num_focal=views.num_focal, ratio=mask.ratio, shared_mask=mask.shared,
    microbatch=config.train.microbatch)


OBJECTIVES = {'msn': _msn}


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
