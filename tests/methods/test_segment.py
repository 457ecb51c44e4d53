"""Segmentation: the loss in float64, maps that follow their pictures, what is frozen, and that it learns."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from maskrep.augment.highpass import high_pass_images
from maskrep.configs.base.sections import vit
from maskrep.configs.evaluation import segmentation, segmentation_ade20k
from maskrep.data.sources.scenes import DigitScenes
from maskrep.devices.mesh import make_mesh
from maskrep.errors import ConfigError
from maskrep.evaluation.metrics import segmentation as judging
from maskrep.experiment.experiment import Experiment
from maskrep.methods.segment import pixel_sums
from maskrep.models.encoder import Preprocessing
from tests.support.stored import opened
from tests.support.tiny import completed, shrink


@pytest.fixture(scope='module')
def config():
  return shrink(completed(segmentation.get_config()))


@pytest.fixture(scope='module')
def segment(config):
  return dataclasses.replace(Experiment.parse(config).objective, trained='all')


@pytest.fixture(scope='module')
def batch():
  """Pictures whose map can be read off their pixels, two of them with a part of no class."""
  random = np.random.default_rng(0)
  label_map = random.integers(0, 11, (4, 6, 6), np.uint8).repeat(4, axis=1).repeat(4, axis=2)
  image = np.repeat(label_map[..., None] * np.uint8(20), 3, -1)
  label_map[:2, :, 12:] = 255
  return {'image': image, 'label_map': label_map, 'size': np.array([[24, 24], [20, 10]] * 2, np.int32),
          'position': np.arange(40, 44, dtype=np.uint32), 'label': np.full(4, -1, np.int32)}


@pytest.fixture(scope='module')
def views(segment, batch):
  return jax.jit(segment.views)(jax.random.key(2), batch)


@pytest.fixture(scope='module')
def params(segment):
  return jax.jit(segment.init)(jax.random.key(0))[0]


def loss_of(objective, params, views):
  return objective.loss(params, views, key=jax.random.key(3), step=0, ema_params=None, model_state={}, frozen=None)


def test_the_loss_is_the_mean_over_pixels_with_a_class_in_float64(segment, params, views):
  loss, aux = jax.jit(lambda p: loss_of(segment, p, views))(params)
  logits = np.asarray(jax.jit(segment.segment)(params, {}, views['image']), np.float64)
  truth = np.asarray(views['label_map'])
  places = np.clip((np.arange(truth.shape[1]) + 0.5) * logits.shape[1] / truth.shape[1] - 0.5, 0, logits.shape[1] - 1)
  low = np.minimum(np.floor(places).astype(int), logits.shape[1] - 2)
  part = (places - low)
  mix = lambda x, axis, shape: (  # noqa: E731
    np.take(x, low, axis) * (1 - part).reshape(shape) + np.take(x, low + 1, axis) * part.reshape(shape))
  fine = mix(mix(logits, 1, (-1, 1, 1)), 2, (-1, 1))
  log_p = fine - np.log(np.exp(fine).sum(-1, keepdims=True))
  counted = truth != 255
  assert 0 < counted.sum() < counted.size and len(set(counted.sum((1, 2)))) > 1
  own = np.take_along_axis(log_p, np.where(counted, truth, 0)[..., None].astype(int), -1)[..., 0]
  np.testing.assert_allclose(loss, -own[counted].mean(), rtol=1e-5)
  np.testing.assert_allclose(aux.metrics['pixel_accuracy'], (fine.argmax(-1) == truth)[counted].mean(), rtol=1e-5)


def test_pixels_of_no_class_have_no_loss_and_no_gradient():
  logits = jax.random.normal(jax.random.key(0), (2, 3, 3, 4))
  label_map = np.array([[[0, 1, 255], [2, 255, 3], [0, 0, 0]], [[255] * 3] * 3], np.uint8)
  sums, gradient = jax.jit(jax.value_and_grad(lambda x: pixel_sums(x, label_map)[:, 0].sum()))(logits)
  assert np.isfinite(sums) and pixel_sums(logits, label_map)[:, 2].tolist() == [7, 0]
  assert (np.asarray(gradient)[label_map == 255] == 0).all() and np.abs(gradient[0, 0, 0]).max() > 0


@pytest.mark.parametrize('scale_jitter', [(0.0, 0.0), (1.5, 3.0)])
def test_maps_are_cropped_and_flipped_as_their_pictures(scale_jitter, segment, batch):
  """Enlarged, the middle of each square of a picture has its grey, and its class."""
  segment = dataclasses.replace(segment, view=dataclasses.replace(
    segment.view, size=64, flip=0.5, crop_scale=(0.2, 1), scale_jitter=scale_jitter))
  batch = batch | {'size': np.full((4, 2), 24, np.int32)}
  cut_views = jax.jit(segment.views)
  for first in range(0, 12, 4):
    cut = cut_views(jax.random.key(1), batch | {'position': np.arange(first, first + 4, dtype=np.uint32)})
    grey = np.asarray(cut['image'][..., 0] * segment.view.std[0] + segment.view.mean[0]) * 255
    classes, found = np.asarray(cut['label_map']), np.round(grey / 20)
    inside = (np.abs(grey - 20 * found) < 0.05) & (classes != 255)
    # Between two squares, a mixture may have the grey of a third.
    assert inside.mean() > 0.2 and len(np.unique(classes)) > 8 and (found == classes)[inside].mean() > 0.99


def test_a_view_larger_than_its_image_is_padded(segment, batch):
  """At half the scale, without a flip: pictures of 24 x 24 and 20 x 10 in squares of 48 and 20."""
  view = dataclasses.replace(segment.view, flip=0.0, jitter=0.0, scale_jitter=(0.5, 0.5))
  segment, half = dataclasses.replace(segment, view=view), view.size // 2
  image = np.full((4, 24, 24, 3), 255, np.uint8)
  views = jax.jit(segment.views)(jax.random.key(1), batch | {'image': image, 'label_map': batch['label_map'] % 11})
  white = (1 - np.array(view.mean)) / np.array(view.std)
  for i, inside in enumerate((np.s_[:half, :half], np.s_[:, :half])):
    expected = np.zeros((view.size, view.size), bool)
    expected[inside] = True
    np.testing.assert_array_equal(views['label_map'][i] != 255, expected)
    np.testing.assert_allclose(views['image'][i], expected[..., None] * white, rtol=1e-5)


def test_microbatches_give_the_whole_batch_s_loss_and_gradient(segment, params, views):
  def loss_and_gradient(objective):
    return jax.jit(jax.value_and_grad(lambda p: loss_of(objective, p, views)[0]))(params)

  expected, gradient = loss_and_gradient(segment)
  loss, found = loss_and_gradient(dataclasses.replace(segment, microbatch=2))
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, gradient)
  still = [leaf for leaf in jax.tree.leaves(gradient) if np.abs(leaf).max() < 1e-9]
  assert not still, 'with trained=all it reaches every parameter'


def test_the_head_alone_is_trained(segment, params, views):
  head = dataclasses.replace(segment, trained='head')
  gradient = jax.jit(jax.grad(lambda p: loss_of(head, p, views)[0]))(params)
  assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(gradient['encoder']))
  assert all(np.abs(leaf).max() > 1e-6 for leaf in jax.tree.leaves(gradient['decoder']))
  assert jax.tree.structure(head.rules(params)) == jax.tree.structure(params)
  for objective, factor in ((head, {0.0}), (segment, {1.0})):
    scales = jax.tree.map(lambda rule: rule.learning_rate_scale, objective.rules(params))
    assert set(jax.tree.leaves(scales['encoder'])) == factor and set(jax.tree.leaves(scales['decoder'])) == {1.0}


def test_views_and_preprocessing_are_filtered_alike(segment, batch):
  filtered = dataclasses.replace(segment, view=dataclasses.replace(segment.view, high_pass_sigma=2.0))
  plain, passed = (jax.jit(each.views)(jax.random.key(2), batch) for each in (segment, filtered))
  np.testing.assert_allclose(passed['image'], high_pass_images(plain['image'], 2.0), atol=1e-5)
  np.testing.assert_array_equal(passed['label_map'], plain['label_map'])
  whole, seen = (
    jax.jit(Preprocessing.of(segment.view, 1.0, sigma))(batch['image'], batch['size']) for sigma in (0.0, 2.0))
  np.testing.assert_allclose(seen, high_pass_images(whole, 2.0), atol=1e-5)


@pytest.mark.slow
def test_it_learns_scenes(segment):
  """It overfits 8 of them, and is judged on them, at their true size, better than by saying background everywhere."""
  source = DigitScenes('train')
  objective = dataclasses.replace(
    segment, encoder=segment.encoder.clone(width=32, patch_size=4, image_size=32, weight_init='fan_in'),
    view=dataclasses.replace(segment.view, size=32, crop_scale=(1.0, 1.0)))
  image, label_map = (np.stack([getattr(source[i], part) for i in range(8)]) for part in ('image', 'label_map'))
  batch = {'image': np.repeat(image[..., None], 3, -1), 'label_map': label_map,
           'size': np.full((8, 2), 32, np.int32), 'position': np.arange(8, dtype=np.uint32)}
  views = jax.jit(objective.views)(jax.random.key(0), batch)
  optimizer = optax.adam(1e-2)

  @jax.jit
  def learn(params):
    def step(carry, _):
      params, state = carry
      loss, gradient = jax.value_and_grad(lambda p: loss_of(objective, p, views)[0])(params)
      updates, state = optimizer.update(gradient, state)
      return (optax.apply_updates(params, updates), state), loss

    (params, _), losses = jax.lax.scan(step, (params, optimizer.init(params)), length=60)
    return params, losses

  params, losses = learn(jax.jit(objective.init)(jax.random.key(0))[0])
  confusion = judging.jit_confusion(
    lambda params, images: objective.segment(params, {}, images), Preprocessing.of(objective.view, 1.0), classes=11,
    stride=0, mesh=make_mesh(devices=jax.devices()[:1]))
  found = judging.scores(np.asarray(confusion(params, batch['image'], batch['size'], label_map), np.int64))
  background = (label_map == 10).mean()
  assert losses[-1] < 0.5 * losses[5]
  assert found.pixel_accuracy > background + 0.03
  assert found.mean_iou > 2 * background / len(np.unique(label_map))


def test_another_number_of_classes_is_refused(config):
  config.objective.map_classes = 12
  with pytest.raises(ConfigError, match='config.objective.map_classes=12: digit_scenes has 11 classes; set it to'):
    opened(config)
  config.data.source = 'digits'
  with pytest.raises(ConfigError, match='config.data.source=digits: has no label maps'):
    opened(config)
  config.data.source, config.objective.map_classes = 'digit_scenes', 11


@pytest.mark.parametrize('section, field, value', [
  ('views', 'scale_jitter', (2.0, 0.5)), ('objective', 'stride', 25), ('objective', 'layer_decay', 0.5),
  ('encoder', 'kind', ''), ('encoder', 'kind', 'resnet'), ('objective', 'trained', 'body'),
  ('objective', 'map_classes', 255), ('views', 'high_pass_sigma', -1.0), ('views', 'size', 18)])
def test_bad_fields_are_refused_in_one_line(config, section, field, value):
  place = config[section]
  sound, place[field] = place[field], value
  try:
    with pytest.raises(ConfigError, match=re.escape(f'config.{section}.{field}={value!r}: ')) as failure:
      Experiment.parse(config)
    assert '\n' not in str(failure.value)
  finally:
    place[field] = sound


def test_ade20k_at_its_real_size():
  """Shapes of a step of ViT-B/14 at 448 pixels, whose positions are those of a grid of 32 x 32."""
  config = completed(segmentation_ade20k.get_config())
  config.encoder = vit('B', 14)
  config.encoder.scan = True  # traced sooner
  program = Experiment.parse(config).program(20_210, make_mesh(devices=jax.devices()[:1]))
  assert program.state.params['encoder']['pos'].shape == (1 + 32 * 32, 768)
  batch = program.batch(config.data.canvas)
  assert batch['label_map'].shape == (16, 683, 683) and batch['label_map'].dtype == jnp.uint8
  after, metrics = jax.eval_shape(program.step, program.state, batch, program.frozen)
  assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, program.state)
  assert all(m.shape == () for m in metrics.values())
