"""Masked Siamese Networks, Assran et al. 2022, arXiv:2204.07141, section 3, equation (1)."""

import dataclasses
import math
from typing import Annotated

import jax
import jax.numpy as jnp

from maskrep import rng
from maskrep.augment.views import View, make_recoloured_views, make_views
from maskrep.errors import ConfigError
from maskrep.masking.tokens import check_ratio, num_kept, random_keep, shared_keep
from maskrep.methods import losses
from maskrep.methods.microbatch import in_microbatches
from maskrep.methods.rules import standard_rules
from maskrep.models.encoder import EncoderNetwork, Preprocessing, check_patches, read_encoder, shrink
from maskrep.models.heads import ProjectionHead
from maskrep.schema import Count, NonNegative, NonNegativeInt, OneOf, Positive, Range, Reader, Scale, Share, check
from maskrep.types import Array, Aux, Batch, Network, Params, Rule, Views

SHARED = 'nothing', 'crop_and_blur', 'all'
BATCH_NORM = 'by_resolution', 'joint'

Shared = Annotated[str, OneOf(SHARED)]
BatchNormOf = Annotated[str, OneOf(BATCH_NORM)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SiameseViews(View):
  """The views of an image: a target view, masked views with the same recipe, and small focal views.

  Attributes:
    focal_size: side of a focal view in pixels.
    focal_crop_scale: smallest and largest share of the image's area that a focal view covers.
    num_random, num_focal: number of masked views and of focal views per image.
    shared: what the masked views share with the target view (Table 9): 'nothing'; crop, flip and blur, so that only
      jitter and greyscale are drawn anew ('crop_and_blur'); or 'all', so that the mask is the only difference.
  """

  focal_size: Count
  focal_crop_scale: Scale
  num_random: NonNegativeInt
  num_focal: NonNegativeInt
  shared: Shared


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenMask:
  """The mask of the masked views.

  Attributes:
    ratio: share of the patches that a masked view drops.
    shared: whether all images of a batch have the same mask.
  """

  ratio: Share
  shared: bool

  __post_init__ = check


@dataclasses.dataclass(frozen=True, kw_only=True)
class MSN:
  """Cross-entropy between the prototype assignments of masked views and those of the unmasked target view of an image.

  Attributes:
    encoder: images [B, H, W, 3], keep_idx [B, K] -> {'cls': [B, D], 'patches': [B, K, D]}.
    head: [B, D] -> [B, E], with batch statistics; dropped after pre-training.
    target_view, anchor_view, focal_view: recipes of the target view, the masked views and the focal views.
    preprocessing: preprocessing of images in evaluation and export.
    num_random, num_focal: number of masked and focal anchors per image (paper: 1 and 10); not both 0.
    shared: what the masked anchors share with the target view, see `SiameseViews`.
    ratio: share of the patches of a masked anchor that are dropped; focal anchors are not masked.
    shared_mask: whether a batch has a single mask, as in the authors' code.
    num_prototypes: number of learnable prototypes, as wide as the head's output.
    temperature, target_temperature: softmax temperatures of anchors and of (sharpened) targets.
    sinkhorn_iterations: iterations that balance the targets over the batch; 0 turns it off.
    memax_weight: lambda of equation (1), the weight of mean-entropy maximisation.
    entropy_weight: weight of the entropy of each anchor (authors' code; 0 in the paper).
    batch_norm: 'by_resolution', as in the authors' code: the head normalises masked views by their own statistics, and
      focal views by theirs. 'joint' normalises both by the statistics of all anchors. Targets always have their own.
    microbatch: images of the global batch that the encoder processes at once; 0 is all.
  """

  encoder: EncoderNetwork
  head: Network
  target_view: View
  anchor_view: View
  focal_view: View
  preprocessing: Preprocessing
  num_random: NonNegativeInt
  num_focal: NonNegativeInt
  shared: Shared
  ratio: Share
  shared_mask: bool
  num_prototypes: Annotated[int, Range(2)]
  temperature: Positive
  target_temperature: Positive
  sinkhorn_iterations: NonNegativeInt
  memax_weight: NonNegative
  entropy_weight: NonNegative
  batch_norm: BatchNormOf
  microbatch: NonNegativeInt

  reads, masked, pooling = ('image', 'size', 'position'), {'anchor': 'keep_idx'}, 'class_token'
  frozen, exact_microbatches = None, True

  __post_init__ = check

  @property
  def backbone(self) -> tuple[str, Network]:
    return 'encoder', self.encoder

  def init(self, key: Array) -> tuple[Params, dict]:
    encoder_key, head_key, prototype_key = jax.random.split(key, 3)
    images = jnp.zeros((2, self.target_view.size, self.target_view.size, 3))
    encoder = self.encoder.init(encoder_key, images)
    head = self.head.init(head_key, self.encoder.apply(encoder, images)['cls'], train=True)
    # Like the authors' prototypes: uniform within 1/sqrt(width), before normalisation.
    bound = self.head.output**-0.5
    prototypes = jax.random.uniform(prototype_key, (self.num_prototypes, self.head.output), minval=-bound, maxval=bound)
    params = {'encoder': encoder['params'], 'head': head['params'], 'prototypes': prototypes}
    return params, {'batch_stats': head['batch_stats']}

  def rules(self, params: Params):
    # As in the authors' code: prototypes are neither decayed nor clipped.
    return standard_rules(params) | {'prototypes': Rule(decay=False, clip=False)}

  def views(self, key: Array, batch: Batch) -> Views:
    keys = rng.per_example(key, batch['position'])
    images, sizes = batch['image'], batch['size']
    views = {'target': make_views(rng.fold(keys, 0), images, sizes, self.target_view, 1)[:, 0]}
    if self.num_random:
      views['anchor'] = self._masked_views(keys, images, sizes, views['target'])
      views['keep_idx'] = self._keep_idx(key, keys, batch['position'])
    if self.num_focal:
      views['focal'] = make_views(rng.fold(keys, 2), images, sizes, self.focal_view, self.num_focal)
    return views

  def loss(
    self, params: Params, views: Views, *, key: Array, step: Array, ema_params: Params, model_state: dict, frozen: None
  ) -> tuple[Array, Aux]:
    # Targets: EMA weights, unmasked view, sharpened, balanced over the batch, no gradient.
    whole = self._represent(ema_params, views['target'])
    target, _ = self._project(ema_params, whole, model_state)
    log_q = losses.log_assignments(target, params['prototypes'], self.target_temperature)
    if self.sinkhorn_iterations:
      log_q = losses.log_sinkhorn(log_q, self.sinkhorn_iterations)
    log_q = jax.lax.stop_gradient(log_q)

    # Anchors: masked views, then unmasked focal views.
    masked_key, focal_key = jax.random.split(key)
    anchors = []
    if self.num_random:
      anchors.append(self._represent(params, views['anchor'], views['keep_idx'], key=masked_key))
    if self.num_focal:
      anchors.append(self._represent(params, views['focal'], key=focal_key))
    anchor, model_state = self._project_anchors(params, anchors, model_state)
    log_p = losses.log_assignments(anchor, params['prototypes'], self.temperature)

    # Equation (1): cross-entropy, minus lambda times the entropy of the mean prediction.
    cross_entropy = jnp.mean(losses.cross_entropy(log_q[:, None], log_p))
    log_mean = losses.log_mean(log_p.reshape(-1, self.num_prototypes))
    mean_entropy = losses.entropy(log_mean)
    memax = jnp.log(self.num_prototypes) - mean_entropy
    anchor_entropy = jnp.mean(losses.entropy(log_p))
    loss = cross_entropy + self.memax_weight * memax + self.entropy_weight * anchor_entropy

    target_entropy = jnp.mean(losses.entropy(log_q))
    metrics = {
      'loss': loss,
      'cross_entropy': cross_entropy,
      'memax': memax,
      'kl': cross_entropy - target_entropy,
      'target_entropy': target_entropy,
      'anchor_entropy': anchor_entropy,
      'mean_assignment_entropy': mean_entropy,
      'prototypes_in_use': losses.prototypes_in_use(log_q),
      'feature_std': losses.feature_std(whole),
    }
    return loss, Aux(jax.tree.map(jax.lax.stop_gradient, metrics), model_state)

  def encode(self, params: Params, model_state: dict, images: Array, keep_idx: Array | None = None) -> dict[str, Array]:
    return self.encoder.apply({'params': params['encoder']}, images, keep_idx)

  def assign(self, params: Params, model_state: dict, images: Array) -> Array:
    """Log-probabilities of the prototypes as the targets have them, but normalised by the head's running statistics.

    So they do not depend on the other images of a batch, as the balanced targets of training do.
    """
    whole = self.encode(params, model_state, images)['cls']
    projected = self.head.apply({'params': params['head'], **model_state}, whole)
    return losses.log_assignments(projected, params['prototypes'], self.target_temperature)

  def _masked_views(self, keys, images, sizes, target) -> Array:
    """The views to be masked, [B, num_random, H, W, 3]."""
    if self.shared == 'all':
      return jnp.repeat(target[:, None], self.num_random, axis=1)
    if self.shared == 'crop_and_blur':
      return make_recoloured_views(
        rng.fold(rng.fold(keys, 0), 0), rng.fold(keys, 1), images, sizes, self.anchor_view, self.num_random)
    return make_views(rng.fold(keys, 1), images, sizes, self.anchor_view, self.num_random)

  def _keep_idx(self, key, keys, position) -> Array:
    """The patches that the masks keep, [B * num_random, K]."""
    patches = (self.anchor_view.size // self.encoder.patch_size) ** 2
    keep = num_kept(patches, self.ratio)
    if self.shared_mask:
      mask_key = jax.random.fold_in(key, position[0])
      return shared_keep(mask_key, len(position) * self.num_random, patches, keep)
    return random_keep(rng.per_view(rng.fold(keys, 3), self.num_random), patches, keep)

  def _represent(self, params, images, keep_idx=None, *, key=None) -> Array:
    """Class tokens of views: float32 [B, ..., H, W, 3] -> [B, ..., D]; with stochastic depth if `key` is given."""
    views = images.shape[:-3]
    count = math.prod(views[1:])
    noise = None if key is None else self.encoder.draw_noise(key, math.prod(views))

    def represent(*arrays):
      arrays = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), arrays)
      cls = self.encoder.apply({'params': params['encoder']}, *arrays)['cls']
      return cls.reshape(-1, count, cls.shape[-1])

    images = images.reshape(-1, *images.shape[-3:])
    arrays = jax.tree.map(lambda a: a.reshape(views[0], count, *a.shape[1:]), (images, keep_idx, noise))
    out = in_microbatches(represent, self.microbatch, *arrays)
    return out.reshape(*views, -1)

  def _project_anchors(self, params, anchors, model_state) -> tuple[Array, dict]:
    """Applies the head to each kind of anchors [B, V, D] -> [B, all V, E]; each kind updates the running statistics."""
    if self.batch_norm == 'joint':
      anchors = [jnp.concatenate(anchors, axis=1)]
    projected = []
    for each in anchors:
      out, model_state = self._project(params, each, model_state)
      projected.append(out)
    return jnp.concatenate(projected, axis=1), model_state

  def _project(self, params, representation, model_state) -> tuple[Array, dict]:
    """Applies the head, [..., D] -> [..., E], normalised by statistics of all rows; returns the updated ones too."""
    variables = {'params': params['head'], **model_state}
    rows = representation.reshape(-1, representation.shape[-1])
    out, model_state = self.head.apply(variables, rows, train=True, mutable=['batch_stats'])
    return out.reshape(*representation.shape[:-1], -1), model_state


def from_config(read: Reader) -> MSN:
  """Reads the sections views, masking, encoder, head and objective."""
  views, mask = read('views', SiameseViews), read('masking', TokenMask)
  encoder = read_encoder(read, image_size=views.size, drops_patches=True)
  check_patches('views.focal_size', views.focal_size, encoder.patch_size)
  check_ratio('masking.ratio', mask.ratio, size=views.size, patch_size=encoder.patch_size)
  if not views.num_random + views.num_focal:
    raise ConfigError('config.views.num_random=0: leaves no anchor, as config.views.num_focal is 0 too; raise either')
  return read(
    'objective', MSN, encoder=encoder, head=read('head', ProjectionHead, dtype=read.dtype), target_view=views,
    anchor_view=views, focal_view=dataclasses.replace(views, size=views.focal_size, crop_scale=views.focal_crop_scale),
    preprocessing=Preprocessing.of(views, read['eval'].crop_fraction), num_random=views.num_random,
    num_focal=views.num_focal, shared=views.shared, ratio=mask.ratio, shared_mask=mask.shared,
    microbatch=read['train'].microbatch)


def tiny(config) -> None:
  """Makes the sections that `from_config` reads small, for tests."""
  shrink(config)
  config.views.update(focal_size=2 * config.encoder.patch_size, num_focal=min(2, config.views.num_focal))
  config.head.update(hidden=16, output=8)
  config.objective.num_prototypes = 12
