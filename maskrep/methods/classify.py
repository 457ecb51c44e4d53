"""Supervised classification: linear probing, partial and full fine-tuning of an encoder, or training from scratch.

Partial fine-tuning: He et al. 2022, arXiv:2111.06377, section 4.3. Layer-wise learning rates: Clark et al. 2020,
arXiv:2003.10555, as in BEiT, arXiv:2106.08254.
"""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp

from maskrep import rng
from maskrep.augment.highpass import high_pass_images
from maskrep.augment.regularisation import Regularisation
from maskrep.augment.views import make_views
from maskrep.methods import losses
from maskrep.methods.microbatch import in_ghost_batches, in_microbatches
from maskrep.methods.rules import fine_tuning_rules, standard_rules
from maskrep.models.encoder import (
  POOLING,
  EncoderNetwork,
  FilteredView,
  Preprocessing,
  pooled,
  read_encoder,
  represent,
  shrink,
)
from maskrep.models.heads import LinearClassifier, MLPHead
from maskrep.models.norm import BatchNorm, layer_norm
from maskrep.schema import Count, NonNegativeInt, OneOf, Range, Reader, check
from maskrep.types import Array, Aux, Batch, Network, Params, Views

TRAINED = 'head', 'last_block', 'all'
INPUT_NORMS = 'none', 'l2', 'layer_l2', 'batch'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classify:
  """Softmax cross-entropy of a linear classifier on an encoder that is frozen, or trained in its last block or fully.

  Attributes:
    encoder: an encoder of any kind.
    view: recipe of the classified view, whose high-pass filter comes last.
    preprocessing: preprocessing of images in evaluation and export.
    regularisation: regularisation of that view and its label.
    trained: 'head', the classifier only, with the encoder as in evaluation, without stochastic depth; 'last_block',
      also the encoder's last block and final norm; or 'all', the complete encoder too. Running statistics of batch norm
      are updated only with 'all'; otherwise the encoder normalises by the existing ones.
    pooling, layers: representation of the image, see `represent`; more than one layer only for 'head'.
    final_norm: False classifies the class token of the last block without the encoder's final norm; only for 'head'.
    input_norm: normalisation of the representation: 'none'; 'l2', to length 1; 'layer_l2', the same after a layer norm
      that is trained; 'batch', by statistics of the global batch, and in evaluation by running ones, without scale
      and bias (He et al. 2022, appendix A.1).
    layer_decay: the learning rate of layer i of L is multiplied by this to the power of L + 1 - i, see `layer`; with 1
      all are equal. Not for a ResNet. Where patches are averaged, blocks of class attention are no layers.
    encoder_rate: the learning rate of the encoder as a share of the classifier's.
    projector: ExtreMA's projector, whose first layer, with the weights of the run in `train.init_from`, is trained
      between encoder and classifier (arXiv:2206.04667, section 5.3); None for none. Only for 'all' and the class token.
    microbatch: images of the global batch that the encoder processes at once; 0 is all.
  """

  encoder: EncoderNetwork
  view: FilteredView
  preprocessing: Preprocessing
  regularisation: Regularisation
  trained: Annotated[str, OneOf(TRAINED)]
  pooling: Annotated[str, OneOf(POOLING)]
  layers: Count
  input_norm: Annotated[str, OneOf(INPUT_NORMS)]
  layer_decay: Annotated[float, Range(0, 1, above=True)]  # 1: the same learning rate for all layers
  microbatch: NonNegativeInt
  final_norm: bool = True
  encoder_rate: Annotated[float, Range(0, 1, above=True)] = 1.0
  projector: Network | None = None

  reads, masked, frozen = ('image', 'size', 'position', 'label'), {}, None

  def __post_init__(self):
    check(self)
    depth = self.encoder.feature_layers if self.trained == 'head' else 1
    if self.layers > depth:
      raise ValueError(f'layers={self.layers}: must be in 1 ... {depth} for this encoder with trained={self.trained!r}')
    if self.layer_decay != 1 and (self.trained == 'head' or self.encoder.batch_norm):
      raise ValueError(f'layer_decay={self.layer_decay}: must be 1 for a ResNet, and if only the head is trained')
    if not self.final_norm and (self.trained, self.pooling, self.layers) != ('head', 'class_token', 1):
      raise ValueError("final_norm=False: is for trained='head', pooling='class_token' and layers=1")
    if (self.trained, self.pooling) == ('last_block', 'average') and not self.encoder.patches_reach_end:
      raise ValueError(f"pooling={self.pooling!r}: must be class_token or both with trained='last_block' of this "
                       'encoder: patches do not go through its last block')
    if self.projector and (self.trained, self.pooling, self.input_norm) != ('all', 'class_token', 'none'):
      raise ValueError("projector: is for trained='all', pooling='class_token' and input_norm='none'; leave the "
                       'section config.projector out')

  @property
  def backbone(self) -> tuple[str, Network]:
    return 'encoder', self.encoder

  @property
  def carried(self) -> tuple[str, ...]:
    return ('projector',) if self.projector else ()

  @property
  def exact_microbatches(self) -> bool:
    return not self._statistics_move

  @property
  def num_classes(self) -> int:
    return self.regularisation.num_classes

  @property
  def classifier(self) -> Network:
    # The standard deviation of MAE's linear probe, or that of all other layers.
    return LinearClassifier(self.num_classes, init_std=0.01 if self.trained == 'head' else 0.02)

  def init(self, key: Array) -> tuple[Params, dict]:
    encoder_key, classifier_key = jax.random.split(key)
    images = jnp.zeros((2, self.view.size, self.view.size, 3))
    variables = self.encoder.init(encoder_key, images)
    representation = self._represent(variables, images)
    student = {'encoder': variables['batch_stats']} if 'batch_stats' in variables else {}
    if self.input_norm == 'batch':
      student['input_norm'] = self._batch_norm.init(classifier_key, representation)['batch_stats']
    params = {'encoder': variables['params']}
    if self.projector:
      projector = self.projector.init(classifier_key, representation, first=True)
      params['projector'] = projector['params']
      representation = self.projector.apply(projector, representation, first=True)
    params['classifier'] = self.classifier.init(classifier_key, representation)['params']
    if self.input_norm == 'layer_l2':
      params['input_norm'] = self._layer_norm.init(classifier_key, representation)['params']
    return params, {'student': student} if student else {}

  def rules(self, params: Params):
    """Those of `fine_tuning_rules`; what the representation does not see stays."""
    rules, blocks = standard_rules(params), self.encoder.block_names
    unseen = set()
    if self.pooling == 'average' and not self.encoder.patches_reach_end:
      unseen = {name for name in blocks if name.startswith('class_block')} | {'cls'}
    blocks = [name for name in blocks if name not in unseen]
    first = {'all': 0, 'last_block': len(blocks), 'head': len(blocks) + 2}[self.trained]
    return rules | {'encoder': fine_tuning_rules(
      rules['encoder'], blocks, first=first, rate=self.encoder_rate, layer_decay=self.layer_decay, unseen=unseen)}

  def views(self, key: Array, batch: Batch) -> Views:
    keys = rng.per_example(key, batch['position'])
    image = make_views(rng.fold(keys, 0), batch['image'], batch['size'], self.view, 1)[:, 0]
    image, target = self.regularisation(rng.fold(keys, 1), image, batch['label'])
    return {'image': high_pass_images(image, self.view.high_pass_sigma), 'target': target}

  def loss(
    self, params: Params, views: Views, *, key: Array, step: Array, ema_params: Params, model_state: dict, frozen: None
  ) -> tuple[Array, Aux]:
    # Frozen parameters get no gradient, so that no backward pass runs through them.
    params = jax.tree.map(lambda rule, p: p if rule.learning_rate_scale else jax.lax.stop_gradient(p),
                          self.rules(params), params)
    representation, moved = self._represent_in_microbatches(params, model_state, views['image'], key)
    student = model_state.get('student', {}) | moved
    if self.input_norm == 'batch':
      representation, stats = self._batch_norm.apply(
        {'batch_stats': student['input_norm']}, representation, train=True, mutable=['batch_stats'])
      student['input_norm'] = stats['batch_stats']
    else:
      representation = self._under_classifier(params, representation)
    logits = self.classify(params, representation)
    loss = jnp.mean(losses.softmax_cross_entropy(logits, views['target']))
    metrics = {
      'loss': loss,
      'accuracy': jnp.mean(logits.argmax(-1) == views['target'].argmax(-1)),
      'feature_std': losses.feature_std(representation),
    }
    return loss, Aux(*jax.tree.map(jax.lax.stop_gradient, (metrics, {'student': student} if student else {})))

  def encode(self, params: Params, model_state: dict, images: Array, keep_idx: Array | None = None) -> dict[str, Array]:
    """'cls' is the input of the classifier: pooled, and projected or normalised."""
    variables = self._variables(params, model_state)
    masks = () if keep_idx is None else (keep_idx,)
    out = self.encoder.apply(variables, images, *masks)
    as_returned = self.layers == 1 and self.final_norm
    representation = pooled(out, self.pooling) if as_returned else self._represent(variables, images, keep_idx)
    if self.input_norm == 'batch':
      representation = self._batch_norm.apply({'batch_stats': model_state['student']['input_norm']}, representation)
    else:
      representation = self._under_classifier(params, representation)
    return {'cls': representation, 'patches': out['patches']}

  def classify(self, params: Params, representation: Array) -> Array:
    """Representations 'cls' of `encode`, [B, D] -> logits [B, num_classes]."""
    return self.classifier.apply({'params': params['classifier']}, representation)

  @property
  def _statistics_move(self) -> bool:
    """True if the encoder's batch norm uses batch statistics, and updates its running ones."""
    return self.trained == 'all' and self.encoder.batch_norm

  @property
  def _batch_norm(self) -> Network:
    return BatchNorm(affine=False, epsilon=1e-6)

  @property
  def _layer_norm(self) -> Network:
    return layer_norm(jnp.float32, None)

  def _under_classifier(self, params: Params, representation: Array) -> Array:
    if self.projector:
      return self.projector.apply({'params': params['projector']}, representation, first=True)
    if self.input_norm == 'layer_l2':
      representation = self._layer_norm.apply({'params': params['input_norm']}, representation)
    return losses.l2_normalize(representation) if self.input_norm in ('l2', 'layer_l2') else representation

  def _variables(self, params, model_state) -> dict:
    stats = model_state.get('student', {}).get('encoder')
    return {'params': params['encoder']} | ({} if stats is None else {'batch_stats': stats})

  def _represent(self, variables, images, keep_idx=None) -> Array:
    return represent(self.encoder, variables, images, keep_idx, pooling=self.pooling, layers=self.layers,
                     final_norm=self.final_norm)

  def _represent_in_microbatches(self, params, model_state, images, key) -> tuple[Array, dict]:
    """Images [B, H, W, 3] -> representations [B, D], and the encoder's running statistics if they are updated."""
    variables = self._variables(params, model_state)
    if self._statistics_move:

      def train_with_statistics(images):
        out, moved = self.encoder.apply(variables, images, train=True, mutable=['batch_stats'])
        return pooled(out, self.pooling), moved['batch_stats']

      representation, moved = in_ghost_batches(train_with_statistics, self.microbatch, images)
      return representation, {'encoder': moved}
    if self.trained == 'head' or self.encoder.batch_norm:
      return in_microbatches(lambda images: self._represent(variables, images), self.microbatch, images), {}

    def train(images, noise):  # `noise` is of stochastic depth and dropout
      return pooled(self.encoder.apply(variables, images, None, noise), self.pooling)

    return in_microbatches(train, self.microbatch, images, self.encoder.draw_noise(key, len(images))), {}


def from_config(read: Reader) -> Classify:
  """Reads the sections views, encoder, regularisation and objective, and projector if there is one."""
  views = read('views', FilteredView)
  encoder = read_encoder(read, image_size=views.size)
  objective = read(
    'objective', Classify, encoder=encoder, view=views,
    preprocessing=Preprocessing.of(views, read['eval'].crop_fraction, views.high_pass_sigma),
    regularisation=read('regularisation', Regularisation), microbatch=read['train'].microbatch,
    projector=read('projector', MLPHead, dtype=read.dtype) if 'projector' in read else None)
  if not objective.exact_microbatches or (objective.input_norm == 'batch' and objective.trained != 'head'):
    read['optim'].refuse_ema('must be 0 if running statistics move with the encoder: they are those of the weights '
                             'that are trained, not of their average')
  return objective


def tiny(config) -> None:
  """Makes the sections that `from_config` reads small, for tests."""
  shrink(config)
  config.regularisation.num_classes = 10
  if 'projector' in config:
    config.projector.hidden = 16
  if config.encoder.kind == 'resnet':
    config.optim.ema_momentum = 0.0
