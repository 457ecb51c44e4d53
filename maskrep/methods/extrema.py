"""ExtreMA: extreme masking, Wu et al. 2022, arXiv:2206.04667, section 3."""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp

from maskrep import rng
from maskrep.augment.views import View, make_view_of
from maskrep.errors import ConfigError
from maskrep.masking.tokens import check_ratio, disjoint_keep, num_kept
from maskrep.methods import losses
from maskrep.methods.microbatch import in_microbatches
from maskrep.methods.rules import standard_rules
from maskrep.models.encoder import EncoderNetwork, Preprocessing, read_encoder, shrink
from maskrep.models.heads import MLPHead
from maskrep.schema import Count, NonNegativeInt, OneOf, Positive, Reader, Share, check
from maskrep.types import Array, Aux, Batch, Network, Params, Rule, Views


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairedViews(View):
  """The views of one image: the student's, parts of which the masks keep, and the teacher's.

  Attributes:
    augmentations: 1 shows the same view to student and teacher; 2 draws their colours independently.
    shared_crop: whether both have the same crop if `augmentations` is 2.
  """

  augmentations: Annotated[int, OneOf((1, 2))]
  shared_crop: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class DisjointMasks:
  """Masks of one image that keep no patch in common.

  Attributes:
    ratio: share of the patches that each mask drops.
    count: number of disjoint masks per image.
  """

  ratio: Share
  count: Count

  __post_init__ = check


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtreMA:
  """Predicts the representation of a complete image from few of its patches; several masks share one teacher view.

  Attributes:
    encoder: images [B, H, W, 3], keep_idx [B, K] -> {'cls': [B, D], 'patches': [B, K, D]}.
    projector, predictor: [B, D] -> [B, E]; the teacher has only a projector.
    view: recipe of the crop and the colours of both views.
    preprocessing: preprocessing of images in evaluation and export.
    augmentations: 2 draws colours for student and teacher independently, 1 shows both the same image.
    shared_crop: whether two augmentations share the crop (the paper's own scheme).
    ratio, num_masks: share of the patches that each mask drops, and number of disjoint masks per image.
    loss_kind: 'byol', the paper's, or 'infonce' over the global batch.
    temperature: temperature of InfoNCE.
    microbatch: images of the global batch that the encoder processes at once; 0 is all.
  """

  encoder: EncoderNetwork
  projector: Network
  predictor: Network
  view: View
  preprocessing: Preprocessing
  augmentations: int
  shared_crop: bool
  ratio: Share
  num_masks: Count
  loss_kind: Annotated[str, OneOf(('byol', 'infonce'))]
  temperature: Positive
  microbatch: NonNegativeInt

  reads, masked, pooling = ('image', 'size', 'position'), {'student': 'keep_idx'}, 'class_token'
  frozen, exact_microbatches = None, True

  __post_init__ = check

  @property
  def backbone(self) -> tuple[str, Network]:
    return 'encoder', self.encoder

  def init(self, key: Array) -> tuple[Params, dict]:
    encoder_key, projector_key, predictor_key = jax.random.split(key, 3)
    images = jnp.zeros((2, self.view.size, self.view.size, 3))
    encoder = self.encoder.init(encoder_key, images)
    cls = self.encoder.apply(encoder, images)['cls']
    projector = self.projector.init(projector_key, cls)
    predictor = self.predictor.init(predictor_key, self.projector.apply(projector, cls))
    return {'encoder': encoder['params'], 'projector': projector['params'], 'predictor': predictor['params']}, {}

  def rules(self, params: Params):
    # As in the authors' code: neither the class token nor positions decay.
    rules = standard_rules(params)
    kept = {name: Rule(decay=False, encoder=True) for name in ('cls', 'pos') if name in rules['encoder']}
    return rules | {'encoder': rules['encoder'] | kept}

  def views(self, key: Array, batch: Batch) -> Views:
    keys = rng.per_example(key, batch['position'])
    student_keys = rng.fold(keys, 0)
    teacher_keys = rng.fold(keys, 1) if self.augmentations == 2 else student_keys
    crop_keys = student_keys if self.shared_crop else teacher_keys
    see = jax.vmap(lambda *arguments: make_view_of(*arguments, recipe=self.view))
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

    # Students: few patches each, of the same view.
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


def from_config(read: Reader) -> ExtreMA:
  """Reads the sections views, masking, encoder, projector, predictor and objective."""
  views, mask = read('views', PairedViews), read('masking', DisjointMasks)
  encoder = read_encoder(read, image_size=views.size, drops_patches=True)
  patches = (views.size // encoder.patch_size) ** 2
  keep = check_ratio('masking.ratio', mask.ratio, size=views.size, patch_size=encoder.patch_size)
  if mask.count * keep > patches:
    raise ConfigError(f'config.masking.count={mask.count}: disjoint masks of {keep} patches each need '
                      f'{mask.count * keep}, and there are {patches}; choose at most {patches // keep}, or raise '
                      'config.masking.ratio')
  return read(
    'objective', ExtreMA, encoder=encoder, projector=read('projector', MLPHead, dtype=read.dtype),
    predictor=read('predictor', MLPHead, dtype=read.dtype), view=views,
    preprocessing=Preprocessing.of(views, read['eval'].crop_fraction), augmentations=views.augmentations,
    shared_crop=views.shared_crop, ratio=mask.ratio, num_masks=mask.count, microbatch=read['train'].microbatch)


def tiny(config) -> None:
  """Makes the sections that `from_config` reads small, for tests."""
  shrink(config)
  config.masking.update(ratio=0.75, count=min(3, config.masking.count))
  for head in (config.projector, config.predictor):
    head.update(hidden=16, output=8)
