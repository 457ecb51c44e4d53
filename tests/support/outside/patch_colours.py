"""A method of a user's own: from some patches of an image, the mean colours of the others are predicted.

A toy, and all that a method takes: `config.method` is its dotted name. See tests/long/test_fifth_method.py.
"""

import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp

from maskrep import rng
from maskrep.augment.views import View, make_views
from maskrep.masking.tokens import check_ratio, num_kept, random_keep
from maskrep.methods import losses
from maskrep.methods.microbatch import in_microbatches
from maskrep.methods.rules import standard_rules
from maskrep.models.encoder import Preprocessing, pooled, read_encoder
from maskrep.models.heads import MLPHead
from maskrep.models.vit import patchify
from maskrep.schema import NonNegativeInt, Reader, Share, check
from maskrep.types import Aux


@dataclasses.dataclass(frozen=True, kw_only=True)
class DroppedPatches:
  ratio: Share

  __post_init__ = check


@dataclasses.dataclass(frozen=True, kw_only=True)
class PatchColours:
  encoder: nn.Module
  predictor: nn.Module
  view: View
  preprocessing: Preprocessing
  ratio: Share
  dropped_only: bool  # whether the error of the patches that are seen does not count
  microbatch: NonNegativeInt

  reads, masked, pooling = ('image', 'size', 'position'), {'image': 'keep_idx'}, 'average'
  frozen, exact_microbatches = None, True

  __post_init__ = check

  @property
  def backbone(self):
    return 'encoder', self.encoder

  @property
  def patches(self) -> int:
    return (self.view.size // self.encoder.patch_size) ** 2

  def init(self, key):
    encoder_key, predictor_key = jax.random.split(key)
    images = jnp.zeros((2, self.view.size, self.view.size, 3))
    encoder = self.encoder.init(encoder_key, images)
    seen = pooled(self.encoder.apply(encoder, images), self.pooling)
    return {'encoder': encoder['params'], 'predictor': self.predictor.init(predictor_key, seen)['params']}, {}

  def rules(self, params):
    return standard_rules(params)

  def views(self, key, batch):
    keys = rng.per_example(key, batch['position'])
    return {'image': make_views(rng.fold(keys, 0), batch['image'], batch['size'], self.view, 1)[:, 0],
            'keep_idx': random_keep(rng.fold(keys, 1), self.patches, num_kept(self.patches, self.ratio))}

  def loss(self, params, views, *, key, step, ema_params, model_state, frozen):
    def represent(images, keep_idx, noise):
      return pooled(self.encoder.apply({'params': params['encoder']}, images, keep_idx, noise), self.pooling)

    images, keep_idx = views['image'], views['keep_idx']
    seen = in_microbatches(represent, self.microbatch, images, keep_idx, self.encoder.draw_noise(key, len(images)))
    predicted = self.predictor.apply({'params': params['predictor']}, seen).reshape(len(images), self.patches, 3)
    patches = patchify(images, self.encoder.patch_size)
    error = jnp.square(predicted - patches.reshape(*patches.shape[:2], -1, 3).mean(axis=2)).mean(-1)
    dropped = ~(keep_idx[:, None] == jnp.arange(self.patches)[:, None]).any(-1)
    loss = jnp.mean(error, where=dropped if self.dropped_only else None)
    metrics = {'loss': loss, 'feature_std': losses.feature_std(seen)}
    return loss, Aux(jax.tree.map(jax.lax.stop_gradient, metrics), model_state)

  def encode(self, params, model_state, images, keep_idx=None):
    out = self.encoder.apply({'params': params['encoder']}, images, keep_idx)
    return {'cls': pooled(out, self.pooling), 'patches': out['patches']}


def from_config(read: Reader) -> PatchColours:
  view, mask = read('views', View), read('masking', DroppedPatches)
  encoder = read_encoder(read, image_size=view.size, drops_patches=True)
  check_ratio('masking.ratio', mask.ratio, size=view.size, patch_size=encoder.patch_size)
  predictor = MLPHead(hidden=32, output=3 * (view.size // encoder.patch_size) ** 2, layers=2, dtype=read.dtype)
  return read(
    'objective', PatchColours, encoder=encoder, predictor=predictor, view=view, ratio=mask.ratio,
    preprocessing=Preprocessing.of(view, read['eval'].crop_fraction), microbatch=read['train'].microbatch)
