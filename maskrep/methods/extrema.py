"""ExtreMA: extreme masking, Wu et al. 2022, arXiv:2206.04667, section 3."""

import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp

from maskrep import rng
from maskrep.augment.views import View, make_view_of
from maskrep.masking.tokens import disjoint_keep, num_kept
from maskrep.methods import losses
from maskrep.methods.microbatch import in_microbatches
from maskrep.types import Array, Aux, Batch, Params, Views


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtreMA:
  """A few patches of an image predict the representation of all of it; several masks share one teacher's view.

  Attributes:
    encoder: images [B, H, W, 3], keep_idx [B, K] -> {'cls': [B, D], 'patches': [B, K, D]}.
    projector, predictor: [B, D] -> [B, E]; the teacher has a projector only.
    view: recipe of the crop and of the colours of both views.
    augmentations: 2 draws colours for student and teacher apart, 1 shows both the same image.
    shared_crop: whether two augmentations share the crop (the paper's own scheme).
    ratio, num_masks: share of the patches that a mask drops, and how many disjoint masks an image gets.
    loss_kind: 'byol', the paper's, or 'infonce' over the global batch.
    temperature: of InfoNCE.
    microbatch: images of the global batch that the encoder sees at once; 0 is all.
  """

  encoder: nn.Module
  projector: nn.Module
  predictor: nn.Module
  view: View
  augmentations: int
  shared_crop: bool
  ratio: float
  num_masks: int
  loss_kind: str
  temperature: float
  microbatch: int
  frozen = None

  def __post_init__(self):
    losses.check_siamese(self.loss_kind, self.temperature)

  def init(self, key: Array) -> tuple[Params, dict]:
    encoder_key, projector_key, predictor_key = jax.random.split(key, 3)
    images = jnp.zeros((2, self.view.size, self.view.size, 3))
    encoder = self.encoder.init(encoder_key, images)
    cls = self.encoder.apply(encoder, images)['cls']
    projector = self.projector.init(projector_key, cls)
    predictor = self.predictor.init(predictor_key, self.projector.apply(projector, cls))
    return {'encoder': encoder['params'], 'projector': projector['params'], 'predictor': predictor['params']}, {}

  def views(self, key: Array, batch: Batch) -> Views:
    keys = rng.per_example(key, batch['position'])
    student_keys = rng.fold(keys, 0)
    teacher_keys = rng.fold(keys, 1) if self.augmentations == 2 else student_keys
    crop_keys = student_keys if self.shared_crop else teacher_keys
    see = jax.vmap(lambda *arguments: make_view_of(*arguments, self.view))
    patches = (self.view.size // self.encoder.patch_size) ** 2
    return {
      'student': see(student_keys, student_keys, batch['image'], batch['size']),
      'teacher': see(crop_keys, teacher_keys, batch['image'], batch['size']),
      'keep_idx': disjoint_keep(
        rng.fold(keys, 2), patches, num_kept(patches, self.ratio), self.num_masks),
    }

  def loss(
    self, params: Params, views: Views, *, key: Array, step: Array, ema_params: Params, model_state: dict, frozen: None
  ) -> tuple[Array, Aux]:
    # Teacher: EMA weights, all patches, once for all masks, no gradient.
    whole = in_microbatches(lambda x: self._cls(ema_params, x), self.microbatch, views['teacher'])
    target = jax.lax.stop_gradient(self.projector.apply({'params': ema_params['projector']}, whole))

    # Students: a few patches each, of the same view.
    b, masks, _ = views['keep_idx'].shape
    noise = jax.tree.map(lambda a: a.reshape(b, masks, *a.shape[1:]), self.encoder.draw_noise(key, b * masks))

    def represent(images, keep_idx, noise):
      images = jnp.repeat(images, masks, axis=0)
      flat = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), (keep_idx, noise))
      return self._cls(params, images, *flat).reshape(-1, masks, whole.shape[-1])

    seen = in_microbatches(represent, self.microbatch, views['student'], views['keep_idx'], noise)
    projected = self.projector.apply({'params': params['projector']}, seen)
    predicted = self.predictor.apply({'params': params['predictor']}, projected)

    if self.loss_kind == 'byol':
      loss = jnp.mean(losses.cosine_distance(predicted, target[:, None]))
    else:
      loss = jnp.mean(losses.info_nce(predicted, target, self.temperature))
    metrics = {
      'loss': loss,
      'similarity': jnp.mean(losses.cosine(predicted, target[:, None])),
      'feature_std': losses.feature_std(whole),
      'target_std': losses.feature_std(target),
    }
    return loss, Aux(jax.tree.map(jax.lax.stop_gradient, metrics), model_state)

  def encode(self, params: Params, model_state: dict, images: Array, keep_idx: Array | None = None) -> dict[str, Array]:
    return self.encoder.apply({'params': params['encoder']}, images, keep_idx)

  def _cls(self, params, *arguments) -> Array:
    return self.encoder.apply({'params': params['encoder']}, *arguments)['cls']
