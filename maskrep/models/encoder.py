"""Encoders of any kind: reading them from a config, pooling their outputs, and preprocessing their images."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Annotated, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp

from maskrep.augment.highpass import high_pass_images
from maskrep.augment.views import View, box_views, eval_views
from maskrep.errors import ConfigError
from maskrep.models.cait import CaiT
from maskrep.models.norm import layer_norm
from maskrep.models.resnet import ResNet
from maskrep.models.transformer import Block
from maskrep.models.vit import ViT, split
from maskrep.schema import Colours, Deviations, NonNegative, OneOf, Range, Reader, check
from maskrep.types import Network

POOLING = 'class_token', 'average', 'both'

Module = TypeVar('Module', bound=Network, covariant=True)


class EncoderNetwork(Network, Protocol):
  """A module from images [B, H, W, 3] to {'cls': [B, D], 'patches': [B, N, D]}.

  'cls' represents the image: the class token or, in a network without one, the average of 'patches'.

  Attributes:
    drops_patches: whether it can encode a subset of an image's patches; it then has `patch_size` too.
    batch_norm: whether it has batch statistics; if not it has `draw_noise`.
    patches_reach_end: whether patches pass through its last block.
    feature_layers: the number of last blocks whose outputs `represent` can concatenate.
    block_names: names of its blocks in the parameters, from input to output.
  """

  drops_patches: ClassVar[bool]
  batch_norm: ClassVar[bool]

  @property
  def patches_reach_end(self) -> bool: ...

  @property
  def feature_layers(self) -> int: ...

  @property
  def block_names(self) -> tuple[str, ...]: ...


class Kind(NamedTuple, Generic[Module]):
  """A kind of network: its module, and the fields that define the architecture; the others concern its training."""

  module: type[Module]
  network: tuple[str, ...]


KINDS: dict[str, Kind[EncoderNetwork]] = {
  'vit': Kind(ViT, ('patch_size', 'width', 'depth', 'heads', 'mlp_ratio', 'image_size', 'class_token')),
  'cait': Kind(CaiT, ('patch_size', 'width', 'depth', 'heads', 'mlp_ratio', 'class_depth', 'instance', 'layer_scale',
                      'positions', 'image_size', 'trunk_scale', 'talking_heads')),
  'resnet': Kind(ResNet, ('depth', 'width', 'stem')),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
  """The preprocessing of an encoder's images.

  Attributes:
    size: height and width in pixels.
    crop_fraction: the central part of the shorter side that the encoder sees (0.875 is 224 of 256).
    filter: filter of the resampling, 'bilinear' for everything trained here.
    mean: mean of each channel, for pixels in [0, 1].
    std: standard deviation of each channel.
    squash: whether the complete image is resized to a square, without cropping.
    high_pass_sigma: standard deviation in pixels of the high-pass filter at the end; 0 turns it off.
  """

  size: Annotated[int, Range(1, 10_000)]
  crop_fraction: Annotated[float, Range(0, 1, above=True)]
  filter: str = 'bilinear'
  mean: Colours
  std: Deviations
  squash: bool = False
  high_pass_sigma: NonNegative = 0.0

  __post_init__ = check

  def __call__(self, canvases: jax.Array, sizes: jax.Array, *, whole: bool = False) -> jax.Array:
    """uint8 canvases [B, S, S, 3] and int32 sizes [B, 2] -> float32 [B, size, size, 3]; `whole` squashes."""
    images = eval_views(canvases, sizes, size=self.size, crop_fraction=self.crop_fraction, mean=self.mean,
                        std=self.std, squash=whole or self.squash)
    return high_pass_images(images, self.high_pass_sigma)

  def windows(self, canvases: jax.Array, sizes: jax.Array, boxes: jax.Array) -> jax.Array:
    """The box [B, 4] of each image, see `box_views`, resized to a square: float32 [B, size, size, 3]."""
    images = box_views(canvases, sizes, boxes, size=self.size, mean=self.mean, std=self.std)
    return high_pass_images(images, self.high_pass_sigma)

  @classmethod
  def of(cls, view: View, crop_fraction: float, high_pass_sigma: float = 0.0) -> 'Preprocessing':
    """The preprocessing of an encoder trained on such views."""
    return cls(size=view.size, crop_fraction=crop_fraction, mean=view.mean, std=view.std, squash=view.squash,
               high_pass_sigma=high_pass_sigma)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilteredView(View):
  """A view that is high-pass filtered after all other operations of its method.

  Attributes:
    high_pass_sigma: standard deviation of the filter in pixels; 0 turns it off.
  """

  high_pass_sigma: NonNegative


def read_encoder(
  read: Reader, name: str = 'encoder', *, image_size: int, drops_patches: bool = False, batch_norm: bool = False,
) -> EncoderNetwork:
  """The encoder of a section, of the kind given by its field `kind`.

  Args:
    image_size: size of unmasked views, in pixels.
    drops_patches: whether it must be able to encode a subset of an image's patches.
    batch_norm: whether it must have batch statistics.

  Raises:
    ConfigError: there is no such kind, it lacks a required ability, or a size is wrong.
  """
  fields = read.section(name)
  if 'kind' not in fields:
    raise ConfigError(f'config.{name}.kind: is missing; add it to the config file, one of {", ".join(KINDS)}')
  kind = fields.pop('kind')
  if kind not in KINDS:
    raise ConfigError(f'config.{name}.kind={kind!r}: must be one of {", ".join(KINDS)}')
  read.annotations[f'{name}.kind'] = Annotated[str, OneOf(tuple(KINDS))]
  module = KINDS[kind].module
  for lacks, what in ((drops_patches > module.drops_patches, 'cannot leave out patches, as this method does'),
                      (batch_norm > module.batch_norm, 'has no batch norm, whose statistics this method keeps')):
    if lacks:
      others = [each for each, other in KINDS.items() if other.module.drops_patches >= drops_patches
                and other.module.batch_norm >= batch_norm]
      raise ConfigError(f'config.{name}.kind={kind!r}: {what}; choose {" or ".join(others)}')
  given = {'image_size': image_size} if 'image_size' in module.__dataclass_fields__ else {}
  encoder = read.build(name, module, fields, dtype=read.dtype, **given)
  if given:
    check_patches('views.size', image_size, encoder.patch_size)
  return encoder


def check_patches(field: str, size: int, patch_size: int) -> None:
  """Raises ConfigError if a view of `size` pixels does not consist of complete patches."""
  if size % patch_size:
    raise ConfigError(f'config.{field}={size}: must be a multiple of config.encoder.patch_size={patch_size}, '
                      f'for example {max(size // patch_size, 1) * patch_size}')


def shrink(config) -> None:
  """Makes the encoder and the views of a method's config tiny, whatever the kind: for tests."""
  if config.encoder.kind == 'resnet':
    config.views.size = 16
    config.encoder.update(depth=18, width=1 / 16, stem='small')
  else:
    config.views.size = 4 * config.encoder.patch_size
    config.encoder.update(width=16, depth=2, heads=2)


def describe(encoder: Network, kinds: Mapping[str, Kind[Network]] = KINDS) -> tuple[str, dict]:
  """The kind of a module, and the fields that define its architecture.

  Raises:
    ConfigError: it is of no kind but a method's own: it can be trained, but not used without its run.
  """
  kind = next((name for name, kind in kinds.items() if type(encoder) is kind.module), None)
  if kind is None:
    raise ConfigError(f'a network of class {type(encoder).__name__} is of none of the kinds {", ".join(kinds)}, and '
                      'cannot be used without its run; choose one of these in the config that trains it')
  return kind, {field: getattr(encoder, field) for field in kinds[kind].network}


def pooled(out: dict[str, jax.Array], pooling: str) -> jax.Array:
  """Class token, average of the patches, or both concatenated: {'cls': [B, D], 'patches': [B, K, D]} -> [B, D]."""
  parts = {'class_token': out['cls'], 'average': out['patches'].mean(axis=1)}
  return jnp.concatenate(list(parts.values()), axis=-1) if pooling == 'both' else parts[pooling]


def represent(
  encoder: Network, variables: dict, images: jax.Array, keep_idx: jax.Array | None = None, *, pooling: str,
  layers: int, final_norm: bool = True,
) -> jax.Array:
  """Float32 images [B, H, W, 3] -> [B, D] or, of the last `layers` blocks concatenated in order, [B, layers * D].

  Each block goes through the encoder's final norm (DINO, arXiv:2104.14294, appendix F.2).

  Args:
    encoder, variables: the module, and its parameters with running statistics if it has any.
    keep_idx: int32 [B, K], the patches that the encoder sees; None is all. Not for a ResNet.
    pooling: one of `POOLING`, applied to each block.
    layers: more than one only for a ViT.
    final_norm: False gives the class token of the last block [B, D] as it is.

  Raises:
    ValueError: the encoder cannot provide that many layers.
  """
  masks = () if keep_idx is None else (keep_idx,)
  if final_norm and layers == 1:
    return pooled(encoder.apply(variables, images, *masks), pooling)
  if not 1 <= layers <= encoder.feature_layers:
    raise ValueError(f'layers={layers}: must be in 1 ... {encoder.feature_layers} for this encoder')
  out, seen = encoder.clone(scan=False).apply(
    variables, images, *masks, capture_intermediates=lambda module, _: isinstance(module, Block))
  if not final_norm:
    tokens = seen['intermediates'][encoder.block_names[-1]]['__call__'][0]  # its first call is for the class token
    return tokens[:, 0].astype(jnp.float32)
  norm = layer_norm(jnp.float32, None).bind({'params': variables['params']['norm']})
  count = out['patches'].shape[1] + int(encoder.class_token)  # the rest is padding, see `pad_tokens`
  blocks = [seen['intermediates'][f'block{i}']['__call__'][0][:, :count]
            for i in range(encoder.depth - layers, encoder.depth - 1)]
  normed = map(norm, blocks)
  found = [pooled(split(x, encoder.class_token), pooling) for x in normed]
  return jnp.concatenate([*found, pooled(out, pooling)], axis=-1)


def patches_after(
  encoder: Network, variables: dict, images: jax.Array, noise: dict | None, blocks: Sequence[int]
) -> list[jax.Array]:
  """Patches of a ViT's or CaiT's blocks, by their numbers from 1, without the final norm: each float [B, h, w, D].

  Args:
    noise: of `draw_noise`; None in evaluation.
  """
  _, seen = encoder.clone(scan=False).apply(
    variables, images, None, noise, capture_intermediates=lambda module, _: isinstance(module, Block))
  h, w = (side // encoder.patch_size for side in images.shape[1:3])
  found = []
  for number in blocks:
    # A ViT computes its class token first, and calls its last block a second time for the patches.
    *others, tokens = seen['intermediates'][f'block{number - 1}']['__call__']
    start = 0 if others else int(encoder.class_token)
    found.append(tokens[:, start:start + h * w].reshape(len(images), h, w, -1))  # the rest is padding
  return found
