"""Semantic segmentation: a linear layer on each patch, Chen et al. 2023, section 4.4, or UperNet, ExtreMA's Table 9."""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp

from maskrep import rng
from maskrep.augment.highpass import high_pass_images
from maskrep.augment.scenes import make_rescaled_view_and_map, make_view_and_map
from maskrep.data.label_maps import NONE
from maskrep.errors import ConfigError
from maskrep.methods.microbatch import in_ghost_batches
from maskrep.methods.rules import fine_tuning_rules, standard_rules
from maskrep.models.encoder import (
  EncoderNetwork,
  FilteredView,
  Preprocessing,
  patches_after,
  read_encoder,
  shrink,
)
from maskrep.models.segmentation import LinearDecoder, UperNet
from maskrep.schema import NonNegative, NonNegativeInt, OneOf, Range, Reader, check
from maskrep.types import Array, Aux, Batch, Network, Params, Views

TRAINED = 'head', 'all'


def pixel_sums(logits: Array, label_map: Array) -> Array:
  """Sums over the labelled pixels of each image: cross-entropy, correct predictions, and pixels.

  Logits [B, H, W, C] and classes uint8 [B, H, W], `NONE` if a pixel has no class -> float32 [B, 3].
  """
  counted = label_map != NONE
  own = jnp.where(counted, label_map, 0).astype(jnp.int32)[..., None]
  cross_entropy = -jnp.take_along_axis(jax.nn.log_softmax(logits), own, axis=-1)[..., 0]
  right = logits.argmax(-1) == label_map
  return jnp.stack([jnp.sum(x * counted, axis=(1, 2)) for x in (cross_entropy, right, counted)], axis=-1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneView(FilteredView):
  """A view of a scene.

  Attributes:
    scale_jitter: instead of a random resized crop, the shorter side is first resized to a multiple of `size` between
      these two, as (0.5, 2.0), and a square of `size` is cut out of the image or, if that is smaller, padded; (0, 0)
      turns it off.
  """

  scale_jitter: tuple[NonNegative, NonNegative] = (0.0, 0.0)

  def __post_init__(self):
    check(self)
    low, high = self.scale_jitter
    if (low or high) and not 0 < low <= high:
      raise ValueError(f'scale_jitter={self.scale_jitter}: must rise and be above 0, for example (0.5, 2.0)')
    if high and (self.rand_layers or self.center_fraction):
      raise ValueError(f'scale_jitter={self.scale_jitter}: needs rand_layers=0 and center_fraction=0')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segment:
  """Cross-entropy over labelled pixels, with logits resampled from patches to pixels.

  Attributes:
    encoder: images [B, H, W, 3] -> {'patches': [B, N, D], ...}, N = H W / patch_size**2.
    view: recipe of the view; the label map gets the same crop and flip, and the high-pass filter comes last.
    preprocessing: preprocessing of images in evaluation and export.
    upernet: the decoder; None is a linear layer on the encoder's output.
    map_classes: number of classes of the label maps.
    trained: 'head', only the decoder, or 'all', the encoder too.
    layer_decay: the learning rate of layer i of L is multiplied by this to the power of L + 1 - i, see `layer`; the
      decoder's is not. Layers that no patch goes through do not count.
    stride: pixels from one window to the next in evaluation, see `evaluation.metrics.windows`; 0 squashes the whole
      image to one square.
    microbatch: images of the global batch that encoder and loss process at once; 0 is all.
  """

  encoder: EncoderNetwork
  view: SceneView
  preprocessing: Preprocessing
  upernet: UperNet | None
  map_classes: Annotated[int, Range(2, 254)]  # the limit of a byte
  trained: Annotated[str, OneOf(TRAINED)]
  microbatch: NonNegativeInt
  layer_decay: Annotated[float, Range(0, 1, above=True)] = 1.0
  stride: NonNegativeInt = 0

  reads, masked, pooling, frozen = ('image', 'size', 'position', 'label_map'), {}, 'class_token', None

  def __post_init__(self):
    check(self)
    if self.stride > self.view.size:
      raise ValueError(f'stride={self.stride}: must be at most views.size={self.view.size}, so that windows touch')
    if self.layer_decay != 1 and self.trained == 'head':
      raise ValueError(f'layer_decay={self.layer_decay}: must be 1 if only the head is trained')

  @property
  def backbone(self) -> tuple[str, Network]:
    return 'encoder', self.encoder

  @property
  def exact_microbatches(self) -> bool:
    return self.upernet is None  # UperNet has batch statistics

  @property
  def decoder(self) -> LinearDecoder | UperNet:
    return LinearDecoder(self.map_classes) if self.upernet is None else self.upernet.clone(classes=self.map_classes)

  def init(self, key: Array) -> tuple[Params, dict]:
    encoder_key, decoder_key = jax.random.split(key)
    images = jnp.zeros((2, self.view.size, self.view.size, 3))
    encoder = self.encoder.init(encoder_key, images)['params']
    decoder = self.decoder.init(decoder_key, self._levels(encoder, images))
    state = {'student': {'decoder': decoder['batch_stats']}} if 'batch_stats' in decoder else {}
    return {'encoder': encoder, 'decoder': decoder['params']}, state

  def rules(self, params: Params):
    """Those of `fine_tuning_rules`; what the decoder's input does not go through stays."""
    rules, blocks = standard_rules(params), self._seen
    unseen = set(self.encoder.block_names) - set(blocks)
    unseen |= {'cls'} if not self.encoder.patches_reach_end else set()
    unseen |= {'norm'} if self.upernet is not None else set()
    first = 0 if self.trained == 'all' else len(blocks) + 2
    return rules | {'encoder': fine_tuning_rules(
      rules['encoder'], blocks, first=first, rate=1.0, layer_decay=self.layer_decay, unseen=unseen)}

  def views(self, key: Array, batch: Batch) -> Views:
    def cut(*example):
      if self.view.scale_jitter[1]:
        return make_rescaled_view_and_map(*example, recipe=self.view, scales=self.view.scale_jitter)
      return make_view_and_map(*example, recipe=self.view)

    keys = rng.per_example(key, batch['position'])
    image, label_map = jax.vmap(cut)(keys, batch['image'], batch['label_map'], batch['size'])
    return {'image': high_pass_images(image, self.view.high_pass_sigma), 'label_map': label_map}

  def loss(
    self, params: Params, views: Views, *, key: Array, step: Array, ema_params: Params, model_state: dict, frozen
  ) -> tuple[Array, Aux]:
    # Frozen parameters get no gradient, so that no backward pass runs through them.
    params = jax.tree.map(lambda rule, p: p if rule.learning_rate_scale else jax.lax.stop_gradient(p),
                          self.rules(params), params)
    variables = self._decoder_variables(params, model_state)

    # The logits of all pixels of a large batch would not fit into memory; sums per image do.
    def of_images(images, label_map, noise, keys):
      levels = self._levels(params['encoder'], images, noise)
      maps, moved = self.decoder.apply(variables, levels, train=True, keys=keys, mutable=['batch_stats'])
      fine = [jax.image.resize(logits, (*label_map.shape, self.map_classes), 'linear') for logits in maps]
      return jnp.stack([pixel_sums(logits, label_map) for logits in fine], axis=1), moved

    count, trains = len(views['image']), self.trained == 'all'
    noise = self.encoder.draw_noise(key, count) if trains else None
    keys = jax.random.split(jax.random.fold_in(key, 1), count)
    sums, moved = in_ghost_batches(of_images, self.microbatch, views['image'], views['label_map'], noise, keys)
    sums = sums.sum(0)
    # Each labelled pixel of the global batch has the same weight, whichever image it is in.
    cross_entropies, right = sums[:, 0] / jnp.maximum(sums[0, 2], 1), sums[0, 1] / jnp.maximum(sums[0, 2], 1)
    loss = jnp.dot(jnp.array(self.decoder.weights), cross_entropies)
    state = {'student': {'decoder': moved['batch_stats']}} if moved else {}
    return loss, Aux(*jax.tree.map(jax.lax.stop_gradient, ({'loss': loss, 'pixel_accuracy': right}, state)))

  def encode(self, params: Params, model_state: dict, images: Array, keep_idx: Array | None = None) -> dict[str, Array]:
    return self.encoder.apply({'params': params['encoder']}, images, keep_idx)

  def segment(self, params: Params, model_state: dict, images: Array) -> Array:
    """Preprocessed images [B, H, W, 3] -> logits [B, h, w, C]: of patches or, with UperNet, of quarters of them."""
    return self.decoder.apply(self._decoder_variables(params, model_state), self._levels(params['encoder'], images))[0]

  @property
  def _seen(self) -> tuple[str, ...]:
    """Names of the blocks that the decoder's input goes through."""
    if self.upernet is not None:
      return tuple(f'block{i}' for i in range(max(self.upernet.blocks)))
    return tuple(name for name in self.encoder.block_names if not name.startswith('class_block'))

  def _levels(self, encoder: Params, images: Array, noise=None) -> list[Array]:
    """The decoder's input, each [B, h, w, D]: patches after some blocks, or those of the encoder's output."""
    if self.upernet is not None:
      return patches_after(self.encoder, {'params': encoder}, images, noise, self.upernet.blocks)
    patches = self.encoder.apply({'params': encoder}, images, None, noise)['patches']
    return [patches.reshape(len(images), images.shape[1] // self.encoder.patch_size, -1, patches.shape[-1])]

  def _decoder_variables(self, params: Params, model_state: dict) -> dict:
    stats = model_state.get('student', {}).get('decoder')
    return {'params': params['decoder']} | ({} if stats is None else {'batch_stats': stats})


def from_config(read: Reader) -> Segment:
  """Reads the sections views, encoder, objective and, if there is one, upernet."""
  views = read('views', SceneView)
  encoder = read_encoder(read, image_size=views.size, drops_patches=True)
  upernet = read('upernet', UperNet, dtype=read.dtype, classes=0) if 'upernet' in read else None
  if upernet is not None:
    read['optim'].refuse_ema('must be 0 with config.upernet: its running statistics are those of the weights that are '
                             'trained, not of their average')
    if max(upernet.blocks) > encoder.depth:
      raise ConfigError(f'config.upernet.blocks={upernet.blocks}: the encoder has {encoder.depth} blocks; name '
                        f'four numbers of them, as {tuple(-(-encoder.depth * i // 12) for i in (4, 6, 8, 12))}')
  return read(
    'objective', Segment, encoder=encoder, view=views, upernet=upernet,
    preprocessing=Preprocessing.of(views, read['eval'].crop_fraction, views.high_pass_sigma),
    microbatch=read['train'].microbatch)


def tiny(config) -> None:
  """Makes the sections that `from_config` reads small, for tests, on scenes of digits."""
  config.encoder.patch_size = 4
  shrink(config)
  config.data.update(source='digit_scenes', canvas=32)
  config.objective.map_classes = 11
  config.objective.stride = min(config.objective.get('stride', 0), config.views.size // 2)
  if 'upernet' in config:
    config.upernet.update(blocks=(1, 1, 2, 2), channels=8, auxiliary_channels=8, pool_sizes=(1, 2))
    config.optim.ema_momentum = 0.0
