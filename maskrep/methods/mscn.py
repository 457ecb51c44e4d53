"""MSCN: Masked Siamese ConvNets, Jing et al. 2022, arXiv:2206.07700."""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp

from maskrep import rng
from maskrep.augment.highpass import high_pass_images
from maskrep.augment.views import make_view_of
from maskrep.errors import ConfigError
from maskrep.masking.pixels import PixelMask, mask_images
from maskrep.masking.tokens import check_ratio
from maskrep.methods import losses
from maskrep.methods.microbatch import in_ghost_batches
from maskrep.methods.rules import standard_rules
from maskrep.models.encoder import EncoderNetwork, FilteredView, Preprocessing, read_encoder, shrink
from maskrep.models.heads import SiameseHead
from maskrep.schema import Count, NonNegativeInt, OneOf, Positive, Reader, check
from maskrep.types import Array, Aux, Batch, Network, Params, Views


@dataclasses.dataclass(frozen=True, kw_only=True)
class BranchView(FilteredView):
  """The recipe of the views of both branches.

  Attributes:
    shared: what both branches have in common: 'nothing'; the 'crop', with its flip (section 4.3, first step); or the
      complete 'view' (Table 7, "Same view").
  """

  shared: Annotated[str, OneOf(('nothing', 'crop', 'view'))] = 'nothing'


@dataclasses.dataclass(frozen=True, kw_only=True)
class MSCN:
  """Gives two views of an image, high-pass filtered and independently masked, the same embedding.

  Several masked versions of the first view are compared with one of the second. With InfoNCE one network embeds both,
  without a teacher; with BYOL the student predicts the teacher's embedding of the second view from the first, but not
  vice versa. Batch norm normalises each branch separately, and in the encoder each microbatch.

  Attributes:
    encoder: images [B, H, W, 3] -> {'cls': [B, D], 'patches': [B, N, D]}, with batch statistics.
    projector: [B, D] -> [B, E], with batch statistics.
    predictor: [B, E] -> [B, E], with batch statistics, for BYOL; None for InfoNCE.
    view: recipe of both views, and of the filter after them.
    preprocessing: preprocessing of images in evaluation and export, with the same filter.
    first_mask, second_mask: recipes of the masks of the first and the second view; their noise differs.
    num_masks: masked versions of the first view.
    loss_kind: 'infonce', SimCLR's over the views of the global batch, or 'byol'.
    temperature: temperature of InfoNCE.
    microbatch: images of the global batch, with all versions, that the encoder processes at once; 0 is all.
  """

  encoder: EncoderNetwork
  projector: Network
  predictor: Network | None
  view: BranchView
  preprocessing: Preprocessing
  first_mask: PixelMask
  second_mask: PixelMask
  num_masks: Count
  loss_kind: Annotated[str, OneOf(('byol', 'infonce'))]
  temperature: Positive
  microbatch: NonNegativeInt

  # Views are masked in pixels (None), and the encoder's batch norm is per microbatch.
  rules = staticmethod(standard_rules)
  reads, masked, pooling = ('image', 'size', 'position'), {'first': None, 'second': None}, 'class_token'
  frozen, exact_microbatches = None, False

  def __post_init__(self):
    check(self)
    if (self.predictor is None) != (self.loss_kind == 'infonce'):
      raise ValueError(f'loss_kind={self.loss_kind!r}: byol needs the section predictor, infonce has none')

  @property
  def backbone(self) -> tuple[str, Network]:
    return 'encoder', self.encoder

  def init(self, key: Array) -> tuple[Params, dict]:
    keys = jax.random.split(key, 3)
    x = jnp.zeros((2, self.view.size, self.view.size, 3))
    params, stats = {}, {}
    for name, module_key in zip(self._modules, keys, strict=False):
      module = getattr(self, name)
      out, variables = module.init_with_output(module_key, x)
      params[name], stats[name] = variables['params'], variables['batch_stats']
      x = out['cls'] if name == 'encoder' else out
    if self.loss_kind == 'infonce':
      return params, {'student': stats}
    teacher = jax.tree.map(jnp.copy, {name: stats[name] for name in ('encoder', 'projector')})
    return params, {'student': stats, 'teacher': teacher}

  def views(self, key: Array, batch: Batch) -> Views:
    keys = rng.per_example(key, batch['position'])

    # The keys of crop and colours of each branch, [2, B].
    first, second = (jax.vmap(jax.random.split, out_axes=1)(rng.fold(keys, 2 * branch)) for branch in (0, 1))
    second = {'nothing': second, 'crop': (first[0], second[1]), 'view': first}[self.view.shared]

    def see(view_keys, mask_keys, recipe, count):
      make = jax.vmap(lambda *each: make_view_of(*each, recipe=self.view))
      whole = make(*view_keys, batch['image'], batch['size'])
      return mask_images(mask_keys, high_pass_images(whole, self.view.high_pass_sigma), recipe, count)

    return {'first': see(first, rng.fold(keys, 1), self.first_mask, self.num_masks),
            'second': see(second, rng.fold(keys, 3), self.second_mask, 1)[:, 0]}

  def loss(
    self, params: Params, views: Views, *, key: Array, step: Array, ema_params: Params, model_state: dict, frozen: None
  ) -> tuple[Array, Aux]:
    byol = self.loss_kind == 'byol'
    # First branch: all masked versions in one batch, [B, M, E].
    features, first, student = self._embed(params, views['first'], model_state['student'])

    # Second branch: the teacher, with its own statistics and no gradient, or the same network again.
    second_params, stats = (ema_params, model_state['teacher']) if byol else (params, student)
    _, second, stats = self._embed(second_params, views['second'][:, None], stats)
    second = second[:, 0]

    if byol:
      second = jax.lax.stop_gradient(second)
      first, student = self._head('predictor', params, first, student)
      loss = jnp.mean(losses.cosine_distance(first, second[:, None]))
      model_state = {'student': student, 'teacher': stats}
    else:
      pairs = [losses.nt_xent(first[:, i], second, self.temperature) for i in range(self.num_masks)]
      loss = jnp.mean(jnp.stack(pairs))
      model_state = {'student': stats}
    metrics = {
      'loss': loss,
      'similarity': jnp.mean(losses.cosine(first, second[:, None])),
      'feature_std': losses.feature_std(features[:, 0]),
      'target_std': losses.feature_std(second),
    }
    return loss, Aux(*jax.tree.map(jax.lax.stop_gradient, (metrics, model_state)))

  def encode(self, params: Params, model_state: dict, images: Array, keep_idx: Array | None = None) -> dict[str, Array]:
    """Encodes with running statistics: the teacher's if there is one, as its weights are evaluated.

    Raises:
      ValueError: keep_idx is given; a ConvNet cannot leave out patches.
    """
    if keep_idx is not None:
      raise ValueError('keep_idx: a ConvNet sees all pixels, and none can be left out')
    stats = model_state['teacher' if self.loss_kind == 'byol' else 'student']['encoder']
    return self.encoder.apply({'params': params['encoder'], 'batch_stats': stats}, images)

  @property
  def _modules(self) -> tuple[str, ...]:
    return ('encoder', 'projector') if self.predictor is None else ('encoder', 'projector', 'predictor')

  def _embed(self, params, images, stats) -> tuple[Array, Array, dict]:
    """Images [B, M, H, W, 3] -> features [B, M, D], embeddings [B, M, E] and the updated statistics."""
    variables = {'params': params['encoder'], 'batch_stats': stats['encoder']}

    def represent(images):
      rows = images.reshape(-1, *images.shape[2:])
      out, moved = self.encoder.apply(variables, rows, train=True, mutable=['batch_stats'])
      return out['cls'].reshape(*images.shape[:2], -1), moved['batch_stats']

    features, moved = in_ghost_batches(represent, self.microbatch, images)
    embeddings, stats = self._head('projector', params, features, stats | {'encoder': moved})
    return features, embeddings, stats

  def _head(self, name, params, x, stats) -> tuple[Array, dict]:
    """Applies the projector or predictor, [B, M, D] -> [B, M, E], normalised by statistics of all rows."""
    variables = {'params': params[name], 'batch_stats': stats[name]}
    rows = x.reshape(-1, x.shape[-1])
    out, moved = getattr(self, name).apply(variables, rows, train=True, mutable=['batch_stats'])
    return out.reshape(*x.shape[:-1], -1), stats | {name: moved['batch_stats']}


def from_config(read: Reader) -> MSCN:
  """Reads the sections views, first_mask, second_mask, encoder, projector, predictor (optional) and objective."""
  views = read('views', BranchView)
  masks = {name: read(name, PixelMask) for name in ('first_mask', 'second_mask')}
  for name, mask in masks.items():
    if views.size % mask.cell:
      raise ConfigError(f'config.{name}.cell={mask.cell}: must divide config.views.size={views.size}')
    check_ratio(f'{name}.ratio', mask.ratio, size=views.size, patch_size=mask.cell)
  encoder = read_encoder(read, image_size=views.size, batch_norm=True)
  head = lambda name: read(name, SiameseHead, dtype=read.dtype)  # noqa: E731
  objective = read(
    'objective', MSCN, encoder=encoder, projector=head('projector'),
    predictor=head('predictor') if 'predictor' in read else None, view=views,
    preprocessing=Preprocessing.of(views, read['eval'].crop_fraction, views.high_pass_sigma),
    microbatch=read['train'].microbatch, **masks)
  if objective.loss_kind == 'infonce':
    read['optim'].refuse_ema('must be 0 with infonce, which has no teacher: its batch statistics are those of the '
                             'student')
  return objective


def tiny(config) -> None:
  """Makes the sections that `from_config` reads small, for tests."""
  shrink(config)
  config.first_mask.cell = config.second_mask.cell = 4
  for name in ('projector', 'predictor'):
    if name in config:
      config[name].update(hidden=16, output=8)
  if config.objective.loss_kind == 'infonce':
    config.optim.ema_momentum = 0.0
