"""MSN's anchors: the batch norm of the head by resolution, kinds of anchors, and what they share with the target."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskrep.augment import blur, colour, crop
from maskrep.configs import msn_ablation, msn_vitb16
from maskrep.errors import ConfigError
from maskrep.experiment.experiment import Experiment
from maskrep.methods.msn import MSN
from maskrep.models.heads import ProjectionHead
from tests.support.tiny import shrink

MOMENTUM = 0.1


def made(**views) -> MSN:
  config = shrink(msn_vitb16.get_config())
  config.encoder.update(weight_init='fan_in', patch_size=4, depth=1)
  config.views.update(size=16, focal_size=8, **views)
  objective = Experiment.parse(config).objective
  return dataclasses.replace(objective, head=ProjectionHead(hidden=10, output=5, layers=3))


@pytest.fixture(scope='module')
def msn() -> MSN:
  return made()


@pytest.fixture(scope='module')
def drawn(msn, batch):
  """(params, model_state whose statistics are not those of the start)"""
  params, _ = msn.init(jax.random.key(0))
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(msn.init, jax.random.key(0))[1]
  return params, jax.tree.map(lambda s: jnp.asarray(rng.uniform(0.5, 1.5, s.shape), jnp.float32), shapes)


def head_by_hand(p, groups, stats, joint: bool):
  """The head in float64, layer by layer and group by group; returns outputs and the statistics after the last group."""
  as64 = lambda tree: jax.tree.map(lambda x: np.asarray(x, np.float64), tree)  # noqa: E731
  p, stats, groups = as64(p), as64(stats), [np.asarray(g, np.float64).reshape(-1, g.shape[-1]) for g in groups]
  outputs = []
  for rows in [np.concatenate(groups)] if joint else groups:
    for i in (1, 2):
      rows = rows @ p[f'fc{i}']['kernel'] + p[f'fc{i}']['bias']
      mean, var = rows.mean(0), rows.var(0)
      unbiased = var * len(rows) / (len(rows) - 1)
      for name, new in (('mean', mean), ('var', unbiased)):
        stats[f'bn{i}'][name] = (1 - MOMENTUM) * stats[f'bn{i}'][name] + MOMENTUM * new
      rows = (rows - mean) / np.sqrt(var + 1e-5) * p[f'bn{i}']['scale'] + p[f'bn{i}']['bias']
      rows = np.asarray(jax.nn.gelu(rows, approximate=False), np.float64)
    outputs.append(rows @ p['fc3']['kernel'] + p['fc3']['bias'])
  return np.concatenate(outputs), stats


@pytest.mark.parametrize('batch_norm', ['by_resolution', 'joint'])
def test_statistics_of_the_head_are_those_of_a_plain_loop(batch_norm, msn, drawn):
  params, state = drawn
  rng = np.random.default_rng(1)
  masked, focal = (jnp.asarray(rng.normal(mean, 1, (6, views, 16)), jnp.float32) for mean, views in ((0, 1), (2, 3)))
  found, moved = dataclasses.replace(msn, batch_norm=batch_norm)._project_anchors(params, [masked, focal], state)
  joint = batch_norm == 'joint'
  # Jointly, the views of an image stand side by side before the head; the order of rows does not matter to the rest.
  want, stats = head_by_hand(params['head'], [masked, focal], state['batch_stats'], joint)
  np.testing.assert_allclose(found[:, :1].reshape(6, 5), want[:6], atol=1e-5)
  np.testing.assert_allclose(found[:, 1:].reshape(18, 5), want[6:], atol=1e-5)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), moved['batch_stats'], stats)


def test_a_step_moves_the_statistics_by_masked_and_then_by_focal_views(msn, drawn, batch):
  params, state = drawn
  views = jax.jit(msn.views)(jax.random.key(2), batch)
  encode = jax.jit(lambda images, keep=None: msn.encode(params, {}, images, keep)['cls'])
  masked = encode(views['anchor'][:, 0], views['keep_idx'])
  focal = encode(views['focal'].reshape(-1, 8, 8, 3))
  _, want = head_by_hand(params['head'], [masked, focal], state['batch_stats'], joint=False)
  for microbatch in (0, 2):
    objective = dataclasses.replace(msn, microbatch=microbatch)
    _, aux = jax.jit(objective.loss)(
      params, views, key=jax.random.key(3), step=0, ema_params=params, model_state=state, frozen=None)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
                 aux.model_state['batch_stats'], want)


@pytest.mark.parametrize(('views', 'names'), [
  ({'num_random': 0, 'num_focal': 2}, {'target', 'focal'}),
  ({'num_random': 2, 'num_focal': 0}, {'target', 'anchor', 'keep_idx'})])
def test_either_kind_of_anchors_trains_alone(views, names, batch):
  objective = made(**views)
  params, state = objective.init(jax.random.key(0))
  drawn = jax.jit(objective.views)(jax.random.key(2), batch)
  assert drawn.keys() == names
  loss = lambda p: objective.loss(p, drawn, key=jax.random.key(3), step=0, ema_params=params, model_state=state,  # noqa: E731
                                  frozen=None)[0]
  gradient = jax.jit(jax.grad(loss))(params)
  assert np.abs(gradient['encoder']['block0']['mlp']['fc1']['kernel']).max() > 1e-5


def test_no_anchor_is_refused():
  with pytest.raises(ConfigError, match='^config.views.num_random=0: leaves no anchor, as config.views.num_focal is 0'):
    made(num_random=0, num_focal=0)


def test_an_anchor_that_shares_all_is_the_target_bit_for_bit(batch):
  objective = made(shared='all', num_random=2, num_focal=0)
  views = jax.jit(objective.views)(jax.random.key(2), batch)
  for i in range(2):
    np.testing.assert_array_equal(views['anchor'][:, i], views['target'])
  keep = np.asarray(views['keep_idx']).reshape(6, 2, -1)
  assert (keep[:, 0] != keep[:, 1]).any(), 'the masks differ'


def test_an_anchor_that_shares_crop_and_blur_differs_in_colour_alone(batch):
  """Without jitter and grey it is the target; with grey always, it is the grey of the target."""
  plain = made(shared='crop_and_blur', num_random=2, num_focal=0, jitter=0.0, grey=0.0)
  views = jax.jit(plain.views)(jax.random.key(2), batch)
  for i in range(2):
    np.testing.assert_allclose(views['anchor'][:, i], views['target'], atol=1e-5)
  grey = dataclasses.replace(plain, anchor_view=dataclasses.replace(plain.anchor_view, grey=1.0))
  found = jax.jit(grey.views)(jax.random.key(2), batch)
  np.testing.assert_array_equal(found['target'], views['target'])
  mean, std = np.array(plain.target_view.mean), np.array(plain.target_view.std)
  target = np.moveaxis(np.asarray(views['target']) * std + mean, -1, 1)
  # The weights of a grey value sum to 1, so grey and blur may change places.
  want = np.moveaxis(np.asarray(jax.vmap(colour.greyscale)(target)), 1, -1)
  np.testing.assert_allclose(np.asarray(found['anchor'][:, 0]) * std + mean, want, atol=1e-4)
  jittered = dataclasses.replace(plain, anchor_view=dataclasses.replace(plain.anchor_view, jitter=1.0))
  found = jax.jit(jittered.views)(jax.random.key(2), batch)['anchor']
  assert np.abs(found[:, 0] - found[:, 1]).max() > 0.1, 'each view has its own jitter'
  assert np.abs(found[:, 0] - views['target']).max() > 0.1


def test_a_target_with_colours_shares_crop_and_blur_key_for_key(batch):
  """The shared parts, drawn again by hand from the keys of the target."""
  objective = made(shared='crop_and_blur', num_random=1, num_focal=0)
  recipe = dataclasses.replace(objective.anchor_view, blur=1.0, jitter=0.0, grey=0.0)
  found = jax.jit(dataclasses.replace(objective, anchor_view=recipe).views)(jax.random.key(2), batch)['anchor'][3, 0]
  key = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(jax.random.key(2), batch['position'][3]), 0), 0)
  crop_key, colour_key = jax.random.split(key)
  box_key, flip_key = jax.random.split(crop_key)
  size = jnp.asarray(batch['size'][3])
  box = crop.random_crop_box(box_key, size, scale=recipe.crop_scale, ratio=recipe.crop_ratio)
  image = crop.resample(jnp.asarray(batch['image'][3]), box, 16, flip=jax.random.uniform(flip_key) < 0.5, within=box)
  low, high = recipe.blur_sigma
  width = jax.random.uniform(jax.random.split(colour_key)[0], (5,))[4]
  image = blur.gaussian_blur(image, low + (high - low) * width, 8)
  want = (np.moveaxis(np.asarray(image), 0, -1) - np.array(recipe.mean)) / np.array(recipe.std)
  np.testing.assert_allclose(found, want, atol=1e-4)


def test_the_variants_of_table_9_share_more_and_more():
  shared = [Experiment.parse(msn_ablation.get_config(f'table9_{name}')).objective.shared
            for name in ('nothing', 'crop_and_blur', 'all')]
  assert shared == ['nothing', 'crop_and_blur', 'all']
