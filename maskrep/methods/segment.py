"""Semantic segmentation by a linear layer on each patch, Chen et al. 2023, section 4.4."""

import dataclasses
from typing import Annotated

import einops
from flax import linen as nn
import jax
import jax.numpy as jnp

from maskrep import rng
from maskrep.augment.highpass import high_pass_images
from maskrep.augment.views import make_view_and_map
from maskrep.data.label_maps import NONE
from maskrep.methods.microbatch import in_microbatches
from maskrep.methods.rules import standard_rules
from maskrep.models.encoder import EncoderNetwork, FilteredView, Preprocessing, read_encoder, shrink
from maskrep.schema import NonNegativeInt, OneOf, Range, Reader, check
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
class Segment:
  """Cross-entropy over labelled pixels, with logits resampled from patches to pixels.

  Attributes:
    encoder: images [B, H, W, 3] -> {'patches': [B, N, D], ...}, N = H W / patch_size**2.
    view: recipe of the view; the label map gets the same crop and flip, and the high-pass filter comes last.
    preprocessing: preprocessing of images in evaluation and export.
    map_classes: number of classes of the label maps.
    trained: 'head', only the linear layer, or 'all', the encoder too.
    microbatch: images of the global batch that encoder and loss process at once; 0 is all.
  """

  encoder: EncoderNetwork
  view: FilteredView
  preprocessing: Preprocessing
  map_classes: Annotated[int, Range(2, 254)]  # the limit of a byte
  trained: Annotated[str, OneOf(TRAINED)]
  microbatch: NonNegativeInt

  reads, masked, pooling = ('image', 'size', 'position', 'label_map'), {}, 'class_token'
  frozen, exact_microbatches = None, True

  __post_init__ = check

  @property
  def backbone(self) -> tuple[str, Network]:
    return 'encoder', self.encoder

  @property
  def decoder(self) -> Network:
    """[B, N, D] -> [B, N, map_classes]."""
    return nn.Dense(self.map_classes, kernel_init=nn.initializers.normal(0.02))

  def init(self, key: Array) -> tuple[Params, dict]:
    encoder_key, decoder_key = jax.random.split(key)
    images = jnp.zeros((2, self.view.size, self.view.size, 3))
    encoder = self.encoder.init(encoder_key, images)
    patches = self.encoder.apply(encoder, images)['patches']
    return {'encoder': encoder['params'], 'decoder': self.decoder.init(decoder_key, patches)['params']}, {}

  def rules(self, params: Params):
    rules, scale = standard_rules(params), float(self.trained == 'all')
    held = lambda rule: dataclasses.replace(rule, learning_rate_scale=scale)  # noqa: E731
    return rules | {'encoder': jax.tree.map(held, rules['encoder'])}

  def views(self, key: Array, batch: Batch) -> Views:
    cut = jax.vmap(lambda *example: make_view_and_map(*example, recipe=self.view))
    keys = rng.per_example(key, batch['position'])
    image, label_map = cut(keys, batch['image'], batch['label_map'], batch['size'])
    return {'image': high_pass_images(image, self.view.high_pass_sigma), 'label_map': label_map}

  def loss(
    self, params: Params, views: Views, *, key: Array, step: Array, ema_params: Params, model_state: dict, frozen
  ) -> tuple[Array, Aux]:
    trains = self.trained == 'all'
    if not trains:
      params = params | {'encoder': jax.lax.stop_gradient(params['encoder'])}

    # The logits of all pixels of a large batch would not fit into memory; sums per image do.
    def of_images(images, label_map, noise):
      logits = self._logits(params, images, noise)
      logits = jax.image.resize(logits, (*label_map.shape, self.map_classes), 'linear')
      return pixel_sums(logits, label_map)

    noise = self.encoder.draw_noise(key, len(views['image'])) if trains else None
    sums = in_microbatches(of_images, self.microbatch, views['image'], views['label_map'], noise).sum(0)
    # Each labelled pixel of the global batch has the same weight, whichever image it is in.
    loss, accuracy = sums[:2] / jnp.maximum(sums[2], 1)
    return loss, Aux(jax.tree.map(jax.lax.stop_gradient, {'loss': loss, 'pixel_accuracy': accuracy}), model_state)

  def encode(self, params: Params, model_state: dict, images: Array, keep_idx: Array | None = None) -> dict[str, Array]:
    return self.encoder.apply({'params': params['encoder']}, images, keep_idx)

  def segment(self, params: Params, images: Array) -> Array:
    """Preprocessed images [B, H, W, 3] -> logits of their patches, [B, H / patch_size, W / patch_size, C]."""
    return self._logits(params, images, None)

  def _logits(self, params, images, noise):
    patches = self.encoder.apply({'params': params['encoder']}, images, None, noise)['patches']
    logits = self.decoder.apply({'params': params['decoder']}, patches)
    return einops.rearrange(logits, 'b (h w) c -> b h w c', h=images.shape[1] // self.encoder.patch_size)


def from_config(read: Reader) -> Segment:
  """Reads the sections views, encoder and objective."""
  views = read('views', FilteredView)
  return read(
    'objective', Segment, encoder=read_encoder(read, image_size=views.size, drops_patches=True), view=views,
    preprocessing=Preprocessing.of(views, read['eval'].crop_fraction, views.high_pass_sigma),
    microbatch=read['train'].microbatch)


def tiny(config) -> None:
  """Makes the sections that `from_config` reads small, for tests, on scenes of digits."""
  config.encoder.patch_size = 4
  shrink(config)
  config.data.update(source='digit_scenes', canvas=32)
  config.objective.map_classes = 11
