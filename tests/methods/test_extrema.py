"""The ExtreMA objective: its losses in float64, where gradients flow, what student and teacher see."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest

from maskrep.configs import extrema_vitb16
from maskrep.experiment.experiment import Experiment
from maskrep.methods import losses
from tests.support.tiny import shrink


@pytest.fixture(scope='module')
def extrema():
  config = shrink(extrema_vitb16.get_config())
  config.encoder.update(weight_init='fan_in', drop_path=0.0, patch_size=4)
  config.views.size = 16
  return Experiment.parse(config).objective


@pytest.fixture(scope='module')
def drawn(extrema, batch):
  init = jax.jit(extrema.init)
  (params, model_state), (teacher, _) = init(jax.random.key(0)), init(jax.random.key(1))
  return jax.jit(extrema.views)(jax.random.key(2), batch), params, teacher, model_state


def loss_of(extrema, params, views, teacher, model_state):
  return extrema.loss(params, views, key=jax.random.key(3), step=0, ema_params=teacher, model_state=model_state,
                      frozen=None)


@pytest.mark.parametrize('kind', ['byol', 'infonce'])
def test_loss_is_the_papers_in_float64(kind, extrema, drawn):
  views, params, teacher, model_state = drawn
  extrema = dataclasses.replace(extrema, loss_kind=kind)
  loss = jax.jit(lambda p: loss_of(extrema, p, views, teacher, model_state)[0])(params)

  @jax.jit
  def project(p, images, keep_idx=None):
    return extrema.projector.apply({'params': p['projector']}, extrema.encode(p, {}, images, keep_idx)['cls'])

  @jax.jit
  def predict(p, keep_idx):
    return extrema.predictor.apply({'params': p['predictor']}, project(p, views['student'], keep_idx))

  def unit(x):
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)

  target = unit(project(teacher, views['teacher']))
  found = []
  for i in range(extrema.num_masks):
    predicted = unit(predict(params, views['keep_idx'][:, i]))
    if kind == 'byol':
      found.append(((predicted - target) ** 2).sum(-1))
    else:
      logits = predicted @ target.T / extrema.temperature
      found.append(np.log(np.exp(logits).sum(1)) - np.diag(logits))
  np.testing.assert_allclose(loss, np.mean(found), rtol=1e-5)


def test_gradient_reaches_every_student_parameter_and_never_the_teacher(extrema, drawn):
  views, params, teacher, model_state = drawn
  grads, teacher_grads = jax.jit(jax.grad(
    lambda p, t: loss_of(extrema, p, views, t, model_state)[0], argnums=(0, 1)))(params, teacher)
  assert all(np.abs(g).max() > 1e-9 for g in jax.tree.leaves(grads))
  assert all((np.asarray(g) == 0).all() for g in jax.tree.leaves(teacher_grads))


def test_masks_of_an_image_are_disjoint_and_images_differ(extrema, drawn):
  keep = np.asarray(drawn[0]['keep_idx'])
  assert keep.shape == (6, 3, 4)
  assert all(len(np.unique(image)) == 12 for image in keep) and len(np.unique(keep.reshape(6, -1), axis=0)) == 6


@pytest.mark.parametrize(('augmentations', 'shared', 'jitter', 'same'), [
  (1, True, 1.0, True), (1, False, 1.0, True), (2, True, 1.0, False), (2, True, 0.0, True), (2, False, 0.0, False)])
def test_student_and_teacher_share_what_they_are_told_to(augmentations, shared, jitter, same, extrema, batch):
  recipe = dataclasses.replace(extrema.view, jitter=jitter, grey=0.0)
  extrema = dataclasses.replace(extrema, view=recipe, augmentations=augmentations, shared_crop=shared)
  views = jax.jit(extrema.views)(jax.random.key(2), batch)
  apart = np.abs(views['student'] - views['teacher']).max((1, 2, 3))
  assert (apart < 1e-5).all() if same else (apart > 1e-2).all()


def test_microbatches_give_the_whole_batch_s_loss_and_gradient(extrema, drawn):
  views, params, teacher, model_state = drawn

  def loss_and_gradient(objective):
    return jax.jit(jax.value_and_grad(lambda p: loss_of(objective, p, views, teacher, model_state)[0]))(params)

  expected, gradient = loss_and_gradient(extrema)
  loss, found = loss_and_gradient(dataclasses.replace(extrema, microbatch=2))
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  for a, b in zip(*map(jax.tree.leaves, (found, gradient)), strict=True):
    assert np.linalg.norm(a - b) <= 1e-5 * max(np.linalg.norm(b), 1)


def test_neither_class_token_nor_positions_decay_as_in_the_authors_code(extrema, drawn):
  rules = extrema.rules(drawn[1])
  assert jax.tree.structure(rules) == jax.tree.structure(drawn[1])
  cls = rules['encoder']['cls']
  assert not cls.decay and cls.clip and cls.encoder and rules['encoder']['embed']['kernel'].decay
  learned = dataclasses.replace(extrema, encoder=extrema.encoder.clone(positions='learned'))
  assert not learned.rules(jax.eval_shape(learned.init, jax.random.key(0))[0])['encoder']['pos'].decay


def test_a_central_crop_is_resize_256_and_center_crop_224(extrema):
  """A picture of 320 x 512 at a view of 16: shorter side to 18, the central 16; neither flip nor chance."""
  recipe = dataclasses.replace(extrema.view, center_fraction=0.875, flip=0.0, jitter=0.0, grey=0.0)
  model = dataclasses.replace(extrema, view=recipe, augmentations=1)
  canvas = np.zeros((1, 64, 64, 3), np.uint8)
  canvas[0, :40, :64] = np.random.default_rng(0).integers(0, 256, (40, 64, 3))
  batch = {'image': canvas, 'size': np.array([[40, 64]], np.int32), 'position': np.array([7], np.uint32)}
  views = jax.jit(model.views)(jax.random.key(0), batch)
  np.testing.assert_array_equal(views['student'], views['teacher'])
  resized = Image.fromarray(canvas[0, :40, :64]).resize((28, 18), Image.Resampling.BILINEAR)
  want = np.asarray(resized)[1:17, 6:22] / 255
  found = np.asarray(views['student'][0]) * np.array(recipe.std) + np.array(recipe.mean)
  assert np.abs(found - want).max() < 0.02


def test_info_nce_is_lowest_for_an_examples_own_key():
  keys = jnp.asarray(np.random.default_rng(0).normal(size=(5, 8)), jnp.float32)
  own = losses.info_nce(keys[:, None], keys, 0.2)
  other = losses.info_nce(keys[:, None], keys[::-1], 0.2)
  assert own.shape == (5, 1) and (np.asarray(own) < np.asarray(other))[[0, 1, 3, 4]].all()
