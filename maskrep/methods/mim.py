"""Supervised learning combined with masked image modelling, Chen et al. 2023, section 3."""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp

from maskrep import rng
from maskrep.augment.regularisation import Regularisation
from maskrep.augment.views import View, make_views
from maskrep.errors import ConfigError
from maskrep.masking.tokens import check_ratio, num_kept, random_keep
from maskrep.methods import losses
from maskrep.methods.microbatch import in_microbatches
from maskrep.methods.rules import standard_rules
from maskrep.models.decoder import TokenDecoder
from maskrep.models.encoder import POOLING, EncoderNetwork, Preprocessing, pooled, read_encoder, shrink
from maskrep.models.heads import SigmoidClassifier
from maskrep.models.vit import ViT, patchify
from maskrep.models.vqgan import TINY as TINY_TOKENIZER
from maskrep.models.vqgan import VQGAN
from maskrep.schema import Count, LocalPath, NonNegative, NonNegativeInt, OneOf, Reader, Share, check
from maskrep.types import Array, Aux, Batch, FrozenWeights, Network, Params, Views

Pooling = Annotated[str, OneOf(POOLING[:2])]


@dataclasses.dataclass(frozen=True, kw_only=True)
class StreamMasks:
  """The mask of both streams.

  Attributes:
    ratio: share of the patches that the mask drops.
    supervised: whether the supervised stream is masked too, by the same mask (section 4.5, Figure 5).
  """

  ratio: Share
  supervised: bool

  __post_init__ = check


@dataclasses.dataclass(frozen=True, kw_only=True)
class MIMTarget:
  """The target of masked image modelling.

  Attributes:
    kind: 'tokens' of a tokenizer, or normalised 'pixels'.
    size: side in pixels of the images that the tokenizer reads.
    weights: workdir of the run that trained the tokenizer, or folder of an import; not read for 'pixels'.
  """

  kind: Annotated[str, OneOf(('tokens', 'pixels'))]
  size: Count
  weights: LocalPath

  __post_init__ = check


@dataclasses.dataclass(frozen=True, kw_only=True)
class SupervisedMIM:
  """Classifies the image from all patches, and predicts the tokens of all patches from those that a mask keeps.

  Two forward passes of one encoder, one backward pass of the sum of both losses.

  Attributes:
    encoder: images [B, H, W, 3], keep_idx [B, K] -> {'cls': [B, D], 'patches': [B, K, D]}.
    classifier: [B, D] -> logits [B, num_classes].
    decoder: patches [B, K, D], fill [B, D], keep_idx [B, K] -> [B, N, codes or pixels of a patch].
    tokenizer: images [B, S, S, 3] in [0, 1] -> int32 tokens [B, h, w], by its method `ids`; frozen. If None, the
      targets are the pixels of each patch, normalised by their mean and deviation (He et al. 2022, section 3).
    tokenizer_weights: folder of its weights.
    view: recipe of the view of both streams.
    preprocessing: preprocessing of images in evaluation and export.
    regularisation: regularisation of the supervised stream only.
    masking: the mask of the MIM stream, and optionally of the supervised stream.
    supervised_pooling, mim_pooling: the classifier's input, and the value of dropped patches in the decoder: the
      'average' of the visible patches, or the 'class_token'.
    mim_weight: weight of the MIM loss; 0 turns its stream off.
    mim_reduction: 'sum' over the patches of an image, as equation (2) is written, or their 'mean'.
    masked_only: whether only dropped patches count in the MIM loss; the paper counts all.
    carry_decoder: whether the decoder of the run in `train.init_from` is taken over too, besides its encoder.
    microbatch: images of the global batch that the encoder processes at once; 0 is all.
  """

  encoder: EncoderNetwork
  classifier: Network
  decoder: Network
  tokenizer: Network | None
  tokenizer_weights: str
  view: View
  preprocessing: Preprocessing
  regularisation: Regularisation
  masking: StreamMasks
  supervised_pooling: Pooling
  mim_pooling: Pooling
  mim_weight: NonNegative
  mim_reduction: Annotated[str, OneOf(('mean', 'sum'))] = 'mean'
  masked_only: bool
  carry_decoder: bool = False
  microbatch: NonNegativeInt

  rules = staticmethod(standard_rules)
  reads = 'image', 'size', 'position', 'label'
  masked = {'image': 'keep_idx', 'supervised': 'supervised_keep'}
  exact_microbatches = True

  def __post_init__(self):
    check(self)
    if self.masked_only and num_kept(self.grid**2, self.masking.ratio) == self.grid**2:
      raise ValueError(f'masked_only=True: masking.ratio={self.masking.ratio} drops none of {self.grid**2} patches, '
                       'and nothing would be predicted; raise it')
    if self.carry_decoder and not self.mim_weight:
      raise ValueError('carry_decoder=True: there is no decoder with mim_weight=0; set it to False')
    if isinstance(self.encoder, ViT) and not self.encoder.class_token:
      for field in ('supervised_pooling', 'mim_pooling'):
        if getattr(self, field) == 'class_token':
          raise ValueError(f"{field}='class_token': this encoder has none; set config.encoder.class_token=True, or "
                           'choose average')

  @property
  def backbone(self) -> tuple[str, Network]:
    return 'encoder', self.encoder

  @property
  def pooling(self) -> str:
    return self.supervised_pooling

  @property
  def carried(self) -> tuple[str, ...]:
    return ('decoder',) if self.carry_decoder else ()

  @property
  def num_classes(self) -> int:
    return self.regularisation.num_classes

  @property
  def grid(self) -> int:
    """Number of patches along a side."""
    return self.view.size // self.encoder.patch_size

  @property
  def frozen(self) -> FrozenWeights | None:
    """The tokenizer's parameters, if it is used."""
    if self.tokenizer is None or not self.mim_weight:
      return None
    side = self.grid * self.tokenizer.stride
    shapes = jax.eval_shape(self.tokenizer.init, jax.random.key(0), jnp.zeros((1, side, side, 3)))['params']
    return FrozenWeights(self.tokenizer_weights, 'target.weights', self.tokenizer, shapes)

  def init(self, key: Array) -> tuple[Params, dict]:
    encoder_key, classifier_key, decoder_key = jax.random.split(key, 3)
    images = jnp.zeros((2, self.view.size, self.view.size, 3))
    encoder = self.encoder.init(encoder_key, images)
    out = self.encoder.apply(encoder, images)
    params = {'encoder': encoder['params'], 'classifier': self.classifier.init(classifier_key, out['cls'])['params']}
    if self.mim_weight:
      everywhere = jnp.broadcast_to(jnp.arange(self.grid**2), (2, self.grid**2))
      params['decoder'] = self.decoder.init(decoder_key, out['patches'], out['cls'], everywhere)['params']
    return params, {}

  def views(self, key: Array, batch: Batch) -> Views:
    keys = rng.per_example(key, batch['position'])
    image = make_views(rng.fold(keys, 0), batch['image'], batch['size'], self.view, 1)[:, 0]
    regularised, target = self.regularisation(rng.fold(keys, 1), image, batch['label'])
    views = {'supervised': regularised, 'target': target}
    keep_idx = random_keep(rng.fold(keys, 3), self.grid**2, num_kept(self.grid**2, self.masking.ratio))
    if self.masking.supervised:
      views['supervised_keep'] = keep_idx
    if self.mim_weight:
      views |= {'image': image, 'keep_idx': keep_idx}
    return views

  def loss(
    self, params: Params, views: Views, *, key: Array, step: Array, ema_params: Params, model_state: dict, frozen
  ) -> tuple[Array, Aux]:
    supervised_key, mim_key = jax.random.split(key)
    representation = self._encode_in_microbatches(
      lambda out, _: pooled(out, self.supervised_pooling), params, views['supervised'], views.get('supervised_keep'),
      supervised_key)
    logits = self.classify(params, representation)
    classification = jnp.mean(losses.sigmoid_cross_entropy(logits, views['target']))
    metrics = {
      'classification': classification,
      'accuracy': jnp.mean(logits.argmax(-1) == views['target'].argmax(-1)),
      'feature_std': losses.feature_std(representation),
    }
    loss = classification
    if self.mim_weight:
      mim, found = self._mim(params, views, frozen, mim_key)
      loss += self.mim_weight * mim
      metrics |= found
    metrics['loss'] = loss
    return loss, Aux(jax.tree.map(jax.lax.stop_gradient, metrics), model_state)

  def encode(self, params: Params, model_state: dict, images: Array, keep_idx: Array | None = None) -> dict[str, Array]:
    out = self.encoder.apply({'params': params['encoder']}, images, keep_idx)
    return {'cls': pooled(out, self.supervised_pooling), 'patches': out['patches']}

  def classify(self, params: Params, representation: Array) -> Array:
    """Representations 'cls' of `encode`, [B, D] -> logits [B, num_classes]."""
    return self.classifier.apply({'params': params['classifier']}, representation)

  def _encode_in_microbatches(self, function, params, images, keep_idx, key):
    """Applies `function(out, keep_idx)` to the encoder's outputs, in microbatches; `key` is for its random noise."""

    def run(images, keep_idx, noise):
      return function(self.encoder.apply({'params': params['encoder']}, images, keep_idx, noise), keep_idx)

    return in_microbatches(run, self.microbatch, images, keep_idx, self.encoder.draw_noise(key, len(images)))

  def _mim(self, params, views, frozen, key) -> tuple[Array, dict[str, Array]]:
    def predict(out, keep_idx):
      return self.decoder.apply({'params': params['decoder']}, out['patches'], pooled(out, self.mim_pooling), keep_idx)

    predicted = self._encode_in_microbatches(predict, params, views['image'], views['keep_idx'], key)
    target = jax.lax.stop_gradient(in_microbatches(
      lambda images: self._target(frozen, images), self.microbatch, views['image']))
    seen = (views['keep_idx'][:, None] == jnp.arange(self.grid**2)[:, None]).any(-1)
    weight = ~seen if self.masked_only else jnp.ones_like(seen)
    over = jnp.sum(weight) if self.mim_reduction == 'mean' else len(weight)
    if self.tokenizer is None:
      loss = jnp.sum(jnp.mean((predicted - target) ** 2, axis=-1) * weight) / over
      return loss, {'mim': loss}
    each = -jnp.take_along_axis(jax.nn.log_softmax(predicted), target[..., None], axis=-1)[..., 0]
    right = (predicted.argmax(-1) == target) & ~seen
    loss = jnp.sum(each * weight) / over
    return loss, {'mim': loss, 'mim_accuracy': jnp.sum(right) / jnp.maximum(jnp.sum(~seen), 1)}

  def _target(self, frozen, images):
    """Targets of normalised images: tokens int32 [B, N], or pixels float32 [B, N, pixels of a patch]."""
    if self.tokenizer is None:
      patches = patchify(images, self.encoder.patch_size)
      return (patches - patches.mean(-1, keepdims=True)) / jnp.sqrt(patches.var(-1, keepdims=True) + 1e-6)
    side = self.grid * self.tokenizer.stride
    images = jnp.clip(images * jnp.array(self.view.std) + jnp.array(self.view.mean), 0, 1)
    images = jax.image.resize(images, (len(images), side, side, 3), 'linear')
    return self.tokenizer.apply({'params': frozen}, images, method='ids').reshape(len(images), -1)


def from_config(read: Reader) -> SupervisedMIM:
  """Reads the sections views, masking, encoder, decoder, target, tokenizer, regularisation and objective."""
  views, mask = read('views', View), read('masking', StreamMasks)
  encoder = read_encoder(read, image_size=views.size, drops_patches=True)
  check_ratio('masking.ratio', mask.ratio, size=views.size, patch_size=encoder.patch_size)
  regularisation, target = read('regularisation', Regularisation), read('target', MIMTarget)
  tokenizer = read('tokenizer', VQGAN, dtype=read.dtype)
  grid, output = views.size // encoder.patch_size, 3 * encoder.patch_size**2
  if target.kind == 'tokens':
    output = tokenizer.codebook_size
    if target.size != grid * tokenizer.stride:
      raise ConfigError(
        f'config.target.size={target.size}: has {target.size / tokenizer.stride:g} tokens along a side, and the view '
        f'{grid} patches; both must be the same: choose {grid * tokenizer.stride}, or another encoder.patch_size')
  decoder = read('decoder', TokenDecoder, patches=grid**2, output=output, weight_init=encoder.weight_init,
                 dtype=read.dtype)
  objective = read(
    'objective', SupervisedMIM, encoder=encoder, classifier=SigmoidClassifier(regularisation.num_classes),
    decoder=decoder, tokenizer=tokenizer if target.kind == 'tokens' else None, tokenizer_weights=target.weights,
    view=views, preprocessing=Preprocessing.of(views, read['eval'].crop_fraction), regularisation=regularisation,
    masking=mask, microbatch=read['train'].microbatch)
  if objective.carry_decoder and not read['train'].init_from:
    raise ConfigError("config.objective.carry_decoder=True: config.train.init_from='' names no run to take it from; "
                      'name one, or set this to False')
  return objective


def tiny(config) -> None:
  """Makes the sections that `from_config` reads small, for tests; the tokenizer is that of `methods.vqgan.tiny`."""
  shrink(config)
  config.decoder.update(width=16, heads=2)
  config.target.size = 16
  config.regularisation.num_classes = 10
  config.train.init_from, config.objective.carry_decoder = '', False
  config.tokenizer.update(**TINY_TOKENIZER)
