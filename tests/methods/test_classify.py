"""Classification on an encoder: its loss in float64, what of the encoder is trained, how fast, and what stays."""

import dataclasses
import functools

from flax import linen as nn
from flax.traverse_util import flatten_dict
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits

from maskrep.augment.highpass import high_pass_images
from maskrep.augment.regularisation import Regularisation
from maskrep.evaluation.metrics.logistic import fit, predict
from maskrep.experiment import stored
from maskrep.methods.classify import Classify
from maskrep.models.cait import CaiT
from maskrep.models.encoder import FilteredView, Preprocessing
from maskrep.models.norm import BatchNorm
from maskrep.models.resnet import ResNet
from maskrep.models.vit import ViT
from maskrep.train.optim import Optim
from maskrep.train.step import init_state, make_step


class Tiny(nn.Module):
  """As much of an encoder as the objective knows of one; without `width` its class token is the pixels of a channel."""

  width: int = 0
  drops: bool = False

  batch_norm, patches_reach_end, feature_layers, block_names = False, True, 1, ()

  def draw_noise(self, key, batch):
    return jax.random.uniform(key, (batch,)) if self.drops else None

  @nn.compact
  def __call__(self, images, keep_idx=None, noise=None):
    kernel = self.param('kernel', nn.initializers.normal(0.3), (3, self.width))
    patches = nn.relu(images.reshape(len(images), -1, 3) @ kernel)
    cls = patches.mean(1) if self.width else images[..., 0].reshape(len(images), -1)
    return {'cls': cls if noise is None else cls * noise[:, None], 'patches': patches}


class Normed(nn.Module):
  """As much of a ResNet."""

  batch_norm, patches_reach_end, feature_layers, block_names = True, True, 1, ()

  @nn.compact
  def __call__(self, images, *, train: bool = False):
    patches = BatchNorm(name='bn')(nn.Dense(12, name='dense')(images.reshape(len(images), -1, 3)), train=train)
    return {'cls': patches.mean(1), 'patches': patches}


SIZES = {'patch_size': 4, 'width': 16, 'depth': 2, 'heads': 2, 'weight_init': 'fan_in'}
VIEW = FilteredView(
  size=8, crop_scale=(0.3, 1.0), flip=0.5, jitter=0.0, jitter_strength=(0.0,) * 4, grey=0.0, blur=0.0, solarise=0.0,
  mean=(0.5,) * 3, std=(0.2,) * 3, high_pass_sigma=0.0)
VIT = Classify(
  encoder=ViT(**SIZES, image_size=8), view=VIEW, preprocessing=Preprocessing.of(VIEW, 1.0),
  regularisation=Regularisation(num_classes=5, label_smoothing=0.1, mixup_alpha=0.5, cutmix_alpha=0.0, erase=0.0),
  trained='head', pooling='class_token', layers=1, input_norm='none', layer_decay=1.0, microbatch=0)
CAIT = dataclasses.replace(VIT, encoder=CaiT(**SIZES, class_depth=2, image_size=8))
RESNET = dataclasses.replace(VIT, encoder=ResNet(18, 1 / 16, 'small'))
TINY = dataclasses.replace(VIT, encoder=Tiny(12))
NORMED = dataclasses.replace(VIT, encoder=Normed())
KINDS = {'vit': VIT, 'cait': CAIT, 'normed': NORMED}


@pytest.fixture(scope='module')
def labelled(batch):
  return batch | {'label': np.arange(6, dtype=np.int32) % 5}


@pytest.fixture(scope='module')
def images():
  return jnp.asarray(np.random.default_rng(3).normal(size=(6, 8, 8, 3)), jnp.float32)


@functools.cache
def initial(classify):
  return jax.jit(classify.init)(jax.random.key(0))


def loss_of(classify, params, model_state, views):
  return classify.loss(params, views, key=jax.random.key(3), step=0, ema_params=None, model_state=model_state,
                       frozen=None)


jitted_loss = jax.jit(loss_of, static_argnums=0)


def targets():
  probability = np.random.default_rng(4).uniform(size=(6, 5)).astype(np.float32)
  return probability / probability.sum(1, keepdims=True)


@pytest.mark.parametrize('input_norm', ['none', 'l2', 'batch'])
def test_loss_and_input_norm_in_float64(input_norm, images):
  """In training, and in evaluation, where 'batch' goes by the running statistics."""
  probe = dataclasses.replace(TINY, input_norm=input_norm, pooling='average')
  params, model_state = initial(probe)
  target = targets()
  loss, aux = jitted_loss(probe, params, model_state, {'image': images, 'target': target})

  x = np.asarray(probe.encoder.apply({'params': params['encoder']}, images)['patches'], np.float64).mean(1)
  kernel = np.asarray(params['classifier']['dense']['kernel'], np.float64)
  assert kernel.std() == pytest.approx(0.01, rel=0.3) and not params['classifier']['dense']['bias'].any()
  seen, later = x, x
  if input_norm == 'l2':
    seen = later = x / np.linalg.norm(x, axis=1, keepdims=True)
  if input_norm == 'batch':
    seen = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-6)
    later = (x - 0.1 * x.mean(0)) / np.sqrt(0.9 + 0.1 * x.var(0, ddof=1) + 1e-6)
  logits = seen @ kernel
  expected = -(target * (logits - np.log(np.exp(logits).sum(1, keepdims=True)))).sum(1).mean()
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  assert aux.metrics['accuracy'] == pytest.approx((logits.argmax(1) == target.argmax(1)).mean())
  out = probe.encode(params, aux.model_state, images)
  np.testing.assert_allclose(out['cls'], later, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(probe.classify(params, out['cls']), later @ kernel, rtol=1e-4, atol=1e-5)


def test_views_are_regularised_and_depend_on_the_position(labelled):
  make = jax.jit(VIT.views)
  views, moved = (make(jax.random.key(2), labelled | {'position': labelled['position'] + i}) for i in (0, 1))
  assert views['image'].shape == (6, 8, 8, 3)
  np.testing.assert_allclose(views['target'].sum(1), 1, rtol=1e-5)
  assert views['target'].min() >= 0.1 / 5 - 1e-6
  np.testing.assert_array_equal(make(jax.random.key(2), labelled)['image'], views['image'])
  assert not np.allclose(views['image'], moved['image']) and not np.allclose(views['target'], moved['target'])


TRAINED = {
  ('normed', 'head'): set(), ('vit', 'last_block'): {'block1', 'norm'},
  ('cait', 'last_block'): {'class_block1', 'norm'}}


@pytest.mark.parametrize(('kind', 'trained'), TRAINED)
def test_the_rest_keeps_every_bit(kind, trained, labelled):
  """Under weight decay and EMA; it has no gradient and no moments. The classifier and what is trained do move."""
  classify = dataclasses.replace(KINDS[kind], trained=trained)
  optim = Optim(
    optimizer_kind='adamw', warmup_learning_rate=0.01, learning_rate=0.01, final_learning_rate=0.0, warmup_epochs=0.0,
    schedule_stretch=1.0, weight_decay=0.3, final_weight_decay=0.3, beta1=0.9, beta2=0.999, clip_norm=1.0,
    ema_momentum=0.9, final_ema_momentum=0.9, ema_schedule='linear')
  values = optim.schedules(total_steps=4, warmup_steps=1)
  params, stats = jax.eval_shape(classify.init, jax.random.key(0))
  rules = classify.rules(params)
  optimizer = optim.optimizer(values, rules)
  first = state = jax.jit(lambda: init_state(classify.init, optimizer, seed=0))()
  step = jax.jit(make_step(classify, optimizer, values['ema_momentum'], 0, rules))
  for _ in range(2):
    state, _ = step(state, labelled)

  expected = {('encoder', name) for name in TRAINED[kind, trained]} | {('classifier', 'dense')}
  for before, after in ((first.params, state.params), (first.ema_params, state.ema_params)):
    before, after = flatten_dict(before), flatten_dict(after)
    same = {path for path in before if np.asarray(before[path]).tobytes() == np.asarray(after[path]).tobytes()}
    assert {path[:2] for path in before.keys() - same} == expected
    assert not {path for path in same if path[:2] in expected}, 'all of the last block moves'
  trained_leaves = [leaf for path, leaf in flatten_dict(params).items() if path[:2] in expected]
  moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]
  assert sum(leaf.size for leaf in moments) == 2 * sum(leaf.size for leaf in trained_leaves)
  jax.tree.map(np.testing.assert_array_equal, state.model_state, first.model_state)
  assert bool(stats) == (kind == 'normed')


def test_no_gradient_reaches_what_is_frozen(images):
  """It would else be in the norm that is logged, and be computed."""
  params, model_state = initial(TINY)
  views = {'image': images, 'target': targets()}
  for trained in ('head', 'all'):
    classify = dataclasses.replace(TINY, trained=trained)
    gradient = jax.jit(jax.grad(lambda p, classify=classify: loss_of(classify, p, model_state, views)[0]))(params)
    assert bool(gradient['encoder']['kernel'].any()) == (trained == 'all')
    assert gradient['classifier']['dense']['bias'].any()


def test_statistics_of_a_whole_convnet_move_and_are_those_of_evaluation(images):
  whole = dataclasses.replace(NORMED, trained='all')
  params, model_state = initial(whole)
  loss, aux = jitted_loss(whole, params, model_state, {'image': images, 'target': targets()})
  out, moved = jax.jit(functools.partial(whole.encoder.apply, train=True, mutable=['batch_stats']))(
    {'params': params['encoder'], 'batch_stats': stored.statistics(model_state)}, images)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), stored.statistics(aux.model_state),
               moved['batch_stats'])
  logits = np.asarray(whole.classify(params, out['cls']), np.float64)
  expected = -(targets() * (logits - np.log(np.exp(logits).sum(1, keepdims=True)))).sum(1).mean()
  np.testing.assert_allclose(loss, expected, rtol=1e-4)
  encode = jax.jit(whole.encode)
  fresh, later = (encode(params, state, images)['cls'] for state in (model_state, aux.model_state))
  assert np.abs(fresh - later).max() > 1e-3


def test_views_and_preprocessing_are_filtered_alike(labelled):
  filtered = dataclasses.replace(VIT, view=dataclasses.replace(VIEW, high_pass_sigma=1.5))
  plain, passed = (jax.jit(each.views)(jax.random.key(2), labelled)['image'] for each in (VIT, filtered))
  np.testing.assert_allclose(passed, high_pass_images(plain, 1.5), atol=1e-5)
  whole, seen = (
    jax.jit(Preprocessing.of(VIEW, 1.0, sigma))(labelled['image'], labelled['size']) for sigma in (0.0, 1.5))
  np.testing.assert_allclose(seen, high_pass_images(whole, 1.5), atol=1e-5)


def test_stochastic_depth_is_of_training_the_encoder_alone_and_microbatches_are_exact(images):
  params, _ = initial(TINY)
  views = {'image': images, 'target': targets()}
  deep = Tiny(12, drops=True)
  for trained, changes in (('head', False), ('all', True)):
    whole, dropped = (dataclasses.replace(TINY, trained=trained, input_norm='batch', encoder=each)
                      for each in (TINY.encoder, deep))
    _, state = initial(whole)
    loss = jitted_loss(whole, params, state, views)[0]
    assert (abs(jitted_loss(dropped, params, state, views)[0] - loss) > 1e-5) == changes
    np.testing.assert_allclose(
      jitted_loss(dataclasses.replace(whole, microbatch=2), params, state, views)[0], loss, rtol=1e-5)


def test_a_probe_converges_to_logistic_regression():
  """By plain SGD: the same minimum, and the same classes on a test split. The weight decay is the penalty; as it stands
  outside the momentum, 1 / (1 - 0.9) of a gradient meets 1 of it.
  """
  pixels, labels = load_digits(return_X_y=True)
  order = np.random.default_rng(0).permutation(len(labels))
  train, test = order[:400], order[400:]
  images = jnp.asarray(np.repeat(pixels.reshape(-1, 8, 8, 1) / 16, 3, -1), jnp.float32)
  probe = dataclasses.replace(
    TINY, encoder=Tiny(), input_norm='batch', regularisation=dataclasses.replace(VIT.regularisation, num_classes=10))
  params, state = initial(probe)
  views = {'image': images[train], 'target': jax.nn.one_hot(labels[train], 10)}
  decay = 0.1
  optim = Optim(
    optimizer_kind='nesterov', warmup_learning_rate=0.1, learning_rate=0.1, final_learning_rate=0.1, warmup_epochs=0.0,
    schedule_stretch=1.0, weight_decay=decay, final_weight_decay=decay, beta1=0.9, beta2=0.999, clip_norm=0.0,
    ema_momentum=0.0, final_ema_momentum=0.0, ema_schedule='linear')
  optimizer = optim.optimizer(optim.schedules(total_steps=800, warmup_steps=0), probe.rules(params))

  def step(carry, _):
    params, state, moments = carry
    (loss, aux), gradient = jax.value_and_grad(lambda p: loss_of(probe, p, state, views), has_aux=True)(params)
    updates, moments = optimizer.update(gradient, moments, params)
    return (optax.apply_updates(params, updates), aux.model_state, moments), loss

  (params, state, _), _ = jax.jit(
    lambda carry: jax.lax.scan(step, carry, length=800))((params, state, optimizer.init(params)))
  features = np.asarray(probe.encode(params, state, images)['cls'])
  expected = fit(features[train], labels[train], num_classes=10, l2=(1 - 0.9) * decay * len(train))
  np.testing.assert_allclose(params['classifier']['dense']['kernel'], expected.weights, atol=0.02)
  ours = np.asarray(probe.classify(params, features[test])).argmax(1)
  assert np.mean(ours == np.asarray(predict(expected, features[test]))) > 0.995
  assert np.mean(ours == labels[test]) > 0.9


@pytest.mark.parametrize(('field', 'value', 'classify'), [
  ('trained', 'tail', VIT), ('pooling', 'max', VIT), ('input_norm', 'layer', VIT), ('layers', 3, VIT),
  ('layers', 0, VIT), ('layers', 2, CAIT), ('layers', 2, dataclasses.replace(VIT, trained='all')),
  ('layer_decay', 0.5, VIT), ('layer_decay', 1.5, dataclasses.replace(VIT, trained='all')),
  ('layer_decay', 0.5, dataclasses.replace(RESNET, trained='all'))])
def test_what_cannot_be_is_refused(field, value, classify):
  with pytest.raises(ValueError, match=f'{field}={value!r}: must be'):
    dataclasses.replace(classify, **{field: value})
