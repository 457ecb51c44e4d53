"""Supervised learning with masked image modelling beside it, Chen et al. 2023, section 3."""

import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp

from maskrep import rng
from maskrep.augment.regularisation import Regularise
from maskrep.augment.views import View, make_views
from maskrep.masking.tokens import num_kept, random_keep
from maskrep.methods import losses
from maskrep.methods.microbatch import in_microbatches
from maskrep.models.represent import POOLING, pooled
from maskrep.models.vit import patchify
from maskrep.types import Array, Aux, Batch, Params, Views


@dataclasses.dataclass(frozen=True, kw_only=True)
class SupervisedMIM:
  """Classifies the whole image, and predicts the tokens of all patches from those that a mask keeps.

  Two forward passes of one encoder, one backward pass of the sum of both losses.

  Attributes:
    encoder: images [B, H, W, 3], keep_idx [B, K] -> {'cls': [B, D], 'patches': [B, K, D]}.
    classifier: [B, D] -> logits [B, num_classes].
    decoder: patches [B, K, D], filling [B, D], keep_idx [B, K] -> [B, N, codes or pixels of a patch].
    tokenizer: images [B, S, S, 3] in [0, 1] -> int32 tokens [B, h, w], by its method `ids`; frozen. None predicts the
      pixels of a patch, normalised by their mean and deviation (He et al. 2022, section 3), in place of tokens.
    view: recipe of the view that both streams see.
    regularise: what the supervised stream alone suffers.
    ratio, supervised_ratio: share of the patches that are dropped in each stream.
    supervised_pooling, mim_pooling: what represents the image to the classifier, and fills the places of dropped
      patches: 'average' of the patches seen, or 'class_token'.
    mim_weight: of the second loss; 0 leaves its stream out.
    masked_only: whether only dropped patches count in it; the paper counts all.
    microbatch: images of the global batch that the encoder sees at once; 0 is all.
  """

  encoder: nn.Module
  classifier: nn.Module
  decoder: nn.Module
  tokenizer: nn.Module | None
  view: View
  regularise: Regularise
  ratio: float
  supervised_ratio: float
  supervised_pooling: str
  mim_pooling: str
  mim_weight: float
  masked_only: bool
  microbatch: int

  def __post_init__(self):
    for field in ('supervised_pooling', 'mim_pooling'):
      if getattr(self, field) not in POOLING[:2]:
        raise ValueError(f'{field}={getattr(self, field)!r}: must be {" or ".join(POOLING[:2])}')
    if not 0 <= self.mim_weight < float('inf'):
      raise ValueError(f'mim_weight={self.mim_weight}: must be finite and not negative')

  @property
  def num_classes(self) -> int:
    return self.regularise.num_classes

  @property
  def grid(self) -> int:
    """Patches along a side."""
    return self.view.size // self.encoder.patch_size

  @property
  def frozen(self):
    """Shapes and types of what the loss reads and never trains: the tokenizer's parameters, where it is used."""
    if self.tokenizer is None or not self.mim_weight:
      return None
    side = self.grid * self.tokenizer.stride
    return jax.eval_shape(self.tokenizer.init, jax.random.key(0), jnp.zeros((1, side, side, 3)))['params']

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
    regularised, target = self.regularise(rng.fold(keys, 1), image, batch['label'])
    views = {'supervised': regularised, 'target': target}
    if self.supervised_ratio:
      views['supervised_keep'] = self._keep(rng.fold(keys, 2), self.supervised_ratio)
    if self.mim_weight:
      views |= {'image': image, 'keep_idx': self._keep(rng.fold(keys, 3), self.ratio)}
    return views

  def loss(
    self, params: Params, views: Views, *, key: Array, step: Array, ema_params: Params, model_state: dict, frozen
  ) -> tuple[Array, Aux]:
    supervised_key, mim_key = jax.random.split(key)
    representation = self._trunk(
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
    """Representations as `encode` gives them, [B, D] -> logits [B, num_classes]."""
    return self.classifier.apply({'params': params['classifier']}, representation)

  def _keep(self, keys: Array, ratio: float) -> Array:
    return random_keep(keys, self.grid**2, num_kept(self.grid**2, ratio))

  def _trunk(self, function, params, images, keep_idx, key):
    """`function(out, keep_idx)` of what the encoder says, in microbatches; `key` is of stochastic depth and dropout."""

    def run(images, keep_idx, noise):
      return function(self.encoder.apply({'params': params['encoder']}, images, keep_idx, noise), keep_idx)

    return in_microbatches(run, self.microbatch, images, keep_idx, self.encoder.draw_noise(key, len(images)))

  def _mim(self, params, views, frozen, key) -> tuple[Array, dict[str, Array]]:
    def predict(out, keep_idx):
      return self.decoder.apply({'params': params['decoder']}, out['patches'], pooled(out, self.mim_pooling), keep_idx)

    predicted = self._trunk(predict, params, views['image'], views['keep_idx'], key)
    target = jax.lax.stop_gradient(in_microbatches(
      lambda images: self._target(frozen, images), self.microbatch, views['image']))
    seen = (views['keep_idx'][:, None] == jnp.arange(self.grid**2)[:, None]).any(-1)
    weight = ~seen if self.masked_only else jnp.ones_like(seen)
    mean = lambda x: jnp.sum(x * weight) / jnp.sum(weight)  # noqa: E731
    if self.tokenizer is None:
      each = jnp.mean((predicted - target) ** 2, axis=-1)
      return mean(each), {'mim': mean(each)}
    each = -jnp.take_along_axis(jax.nn.log_softmax(predicted), target[..., None], axis=-1)[..., 0]
    right = (predicted.argmax(-1) == target) & ~seen
    return mean(each), {'mim': mean(each), 'mim_accuracy': jnp.sum(right) / jnp.maximum(jnp.sum(~seen), 1)}

  def _target(self, frozen, images):
    """Tokens int32 [B, N] of normalised images, or float32 [B, N, pixels of a patch]."""
    if self.tokenizer is None:
      patches = patchify(images, self.encoder.patch_size)
      return (patches - patches.mean(-1, keepdims=True)) / jnp.sqrt(patches.var(-1, keepdims=True) + 1e-6)
    side = self.grid * self.tokenizer.stride
    images = jnp.clip(images * jnp.array(self.view.std) + jnp.array(self.view.mean), 0, 1)
    images = jax.image.resize(images, (len(images), side, side, 3), 'linear')
    return self.tokenizer.apply({'params': frozen}, images, method='ids').reshape(len(images), -1)
