"""Masked Siamese Networks, Assran et al. 2022, arXiv:2204.07141, section 3, equation (1)."""

import dataclasses
import math

from flax import linen as nn
import jax
import jax.numpy as jnp

from maskrep import rng
from maskrep.augment.views import View, make_views
from maskrep.masking.tokens import num_kept, random_keep, shared_keep
from maskrep.methods import losses
from maskrep.methods.microbatch import in_microbatches
from maskrep.types import Array, Aux, Batch, Params, Views


@dataclasses.dataclass(frozen=True, kw_only=True)
class MSN:
  """Cross-entropy between the prototype assignments of masked views and of a whole view of the same image.

  Attributes:
    encoder: images [B, H, W, 3], keep_idx [B, K] -> {'cls': [B, D], 'patches': [B, K, D]}.
    head: [B, D] -> [B, E], with batch statistics; dropped after pre-training.
    target_view, anchor_view, focal_view: recipes of the whole view, the masked views and the small views.
    num_random, num_focal: masked and focal anchors of one image (paper: 1 and 10).
    ratio: share of the patches of a masked anchor that is dropped; focal anchors are not masked.
    shared_mask: one mask for a whole batch, as the authors' code draws it.
    num_prototypes: rows of the learnable prototypes, as wide as the head's output.
    temperature, target_temperature: of the anchors' and the (sharpened) targets' softmax.
    sinkhorn_iterations: balancing of the targets over the batch; 0 leaves it out.
    memax_weight: lambda of equation (1), weight of mean-entropy maximisation.
    entropy_weight: weight of the anchors' own entropy (authors' code; 0 in the paper).
    microbatch: images of the global batch that the encoder sees at once; 0 is all.
  """

  encoder: nn.Module
  head: nn.Module
  target_view: View
  anchor_view: View
  focal_view: View
  num_random: int
  num_focal: int
  ratio: float
  shared_mask: bool
  num_prototypes: int
  temperature: float
  target_temperature: float
  sinkhorn_iterations: int
  memax_weight: float
  entropy_weight: float
  microbatch: int
  frozen = None

  def __post_init__(self):
    for field in ('temperature', 'target_temperature'):
      if not getattr(self, field) > 0:
        raise ValueError(f'{field}={getattr(self, field)}: must be above 0')
    for field, least in (('num_prototypes', 2), ('sinkhorn_iterations', 0)):
      if getattr(self, field) < least:
        raise ValueError(f'{field}={getattr(self, field)}: must be at least {least}')

  @property
  def view(self) -> View:
    return self.target_view

  def init(self, key: Array) -> tuple[Params, dict]:
    encoder_key, head_key, prototype_key = jax.random.split(key, 3)
    images = jnp.zeros((2, self.target_view.size, self.target_view.size, 3))
    encoder = self.encoder.init(encoder_key, images)
    head = self.head.init(head_key, self.encoder.apply(encoder, images)['cls'], train=True)
    # As the authors' prototypes: uniform within 1/sqrt(width), before normalisation.
    bound = self.head.output**-0.5
    prototypes = jax.random.uniform(prototype_key, (self.num_prototypes, self.head.output), minval=-bound, maxval=bound)
    params = {'encoder': encoder['params'], 'head': head['params'], 'prototypes': prototypes}
    return params, {'batch_stats': head['batch_stats']}

  def views(self, key: Array, batch: Batch) -> Views:
    keys = rng.per_example(key, batch['position'])
    images, sizes = batch['image'], batch['size']
    patches = (self.anchor_view.size // self.encoder.patch_size) ** 2
    keep = num_kept(patches, self.ratio)
    if self.shared_mask:
      mask_key = jax.random.fold_in(key, batch['position'][0])
      keep_idx = shared_keep(mask_key, len(images) * self.num_random, patches, keep)
    else:
      mask_keys = rng.per_view(rng.fold(keys, 3), self.num_random)
      keep_idx = random_keep(mask_keys, patches, keep)
    return {
      'target': make_views(rng.fold(keys, 0), images, sizes, self.target_view, 1)[:, 0],
      'anchor': make_views(rng.fold(keys, 1), images, sizes, self.anchor_view, self.num_random),
      'focal': make_views(rng.fold(keys, 2), images, sizes, self.focal_view, self.num_focal),
      'keep_idx': keep_idx,
    }

  def loss(
    self, params: Params, views: Views, *, key: Array, step: Array, ema_params: Params, model_state: dict, frozen: None
  ) -> tuple[Array, Aux]:
    # Targets: EMA weights, whole view, sharpened, balanced over the batch, no gradient.
    whole = self._represent(ema_params, views['target'])
    target, _ = self._project(ema_params, whole, model_state)
    log_q = losses.log_assignments(target, params['prototypes'], self.target_temperature)
    if self.sinkhorn_iterations:
      log_q = losses.log_sinkhorn(log_q, self.sinkhorn_iterations)
    log_q = jax.lax.stop_gradient(log_q)

    # Anchors: masked views, then whole focal views, through one head so that they share its batch statistics.
    masked_key, focal_key = jax.random.split(key)
    anchors = [self._represent(params, views['anchor'], views['keep_idx'], key=masked_key)]
    if self.num_focal:
      anchors.append(self._represent(params, views['focal'], key=focal_key))
    anchor, model_state = self._project(params, jnp.concatenate(anchors, axis=1), model_state)
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

  def _represent(self, params, images, keep_idx=None, *, key=None) -> Array:
    """Class tokens of views: float32 [B, ..., H, W, 3] -> [B, ..., D]; with stochastic depth where a key is given."""
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

  def _project(self, params, representation, model_state) -> tuple[Array, dict]:
    """Through the head, [..., D] -> [..., E], by the statistics of all rows; returns the moved statistics too."""
    variables = {'params': params['head'], **model_state}
    rows = representation.reshape(-1, representation.shape[-1])
    out, model_state = self.head.apply(variables, rows, train=True, mutable=['batch_stats'])
    return out.reshape(*representation.shape[:-1], -1), model_state
