"""Segmentation by UperNet: its loss, what it trains and at which rate, and its config at its real size."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskrep.configs.evaluation import segmentation_upernet_extrema
from maskrep.devices.mesh import make_mesh
from maskrep.errors import ConfigError
from maskrep.experiment.experiment import Experiment
from maskrep.methods.segment import pixel_sums
from maskrep.models.encoder import patches_after
from maskrep.models.norm import layer_norm
from maskrep.models.vit import ViT
from tests.support.tiny import completed, shrink


@pytest.fixture(scope='module')
def config():
  config = shrink(completed(segmentation_upernet_extrema.get_config(), 'cait'))
  config.encoder.drop_path = 0.0
  return config


@pytest.fixture(scope='module')
def segment(config):
  segment = Experiment.parse(config).objective
  return dataclasses.replace(segment, upernet=segment.upernet.clone(dropout=0.0))


def test_the_loss_adds_the_auxiliary_head_s_and_trains_what_the_heads_see(segment):
  params, state = jax.jit(segment.init)(jax.random.key(0))
  random = np.random.default_rng(0)
  views = {'image': random.normal(size=(3, 16, 16, 3)).astype(np.float32),
           'label_map': random.choice(np.array([0, 3, 10, 255], np.uint8), (3, 16, 16))}

  def loss_of(params):
    return segment.loss(params, views, key=jax.random.key(3), step=0, ema_params=None, model_state=state, frozen=None)

  def both(params):
    levels = segment._levels(params['encoder'], views['image'])
    maps, _ = segment.decoder.apply({'params': params['decoder'], 'batch_stats': state['student']['decoder']}, levels,
                                    train=True, mutable=['batch_stats'])
    fine = [jax.image.resize(x, (3, 16, 16, 11), 'linear') for x in maps]
    return [x.shape for x in maps], [pixel_sums(x, views['label_map']).sum(0) for x in fine]

  ((loss, aux), gradient), (shapes, (main, auxiliary)) = jax.jit(
    lambda p: (jax.value_and_grad(loss_of, has_aux=True)(p), both(p)))(params)
  assert [tuple(map(int, shape)) for shape in shapes] == [(3, 16, 16, 11), (3, 4, 4, 11)]
  np.testing.assert_allclose(loss, (main[0] + 0.4 * auxiliary[0]) / main[2], rtol=1e-5)
  np.testing.assert_allclose(aux.metrics['pixel_accuracy'], main[1] / main[2], rtol=1e-5)
  moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), aux.model_state, state)
  assert jax.tree.structure(aux.model_state) == jax.tree.structure(state) and min(jax.tree.leaves(moved)) > 0

  rules = segment.rules(params)
  for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
    seen = {'encoder': lambda name: name.startswith('block') or name == 'embed', 'decoder': lambda name: True}
    assert (np.abs(leaf).max() > 0) == seen[path[0].key](path[1].key), path
  scales = {name: {rule.learning_rate_scale for rule in jax.tree.leaves(tree)}
            for name, tree in rules['encoder'].items()}
  unseen = dict.fromkeys(('cls', 'norm', 'class_block0', 'class_block1'), {0})
  assert scales == unseen | {'embed': {0.85**3}, 'block0': {0.85**2}, 'block1': {0.85}}
  assert {rule.learning_rate_scale for rule in jax.tree.leaves(rules['decoder'])} == {1}


def test_levels_are_patches_after_their_blocks():
  """The final norm makes them the output of the encoder that ends with that block."""
  vit = ViT(patch_size=4, width=16, depth=2, heads=2, image_size=8)
  images = np.random.default_rng(0).normal(size=(2, 8, 12, 3)).astype(np.float32)

  def both(key):
    variables = vit.init(key, images)
    levels = patches_after(vit, variables, images, None, (1, 2))
    norm = layer_norm(jnp.float32, None).bind({'params': variables['params']['norm']})
    return [norm(x) for x in levels], [vit.clone(depth=depth).apply(variables, images)['patches'] for depth in (1, 2)]

  for level, patches in zip(*jax.jit(both)(jax.random.key(0)), strict=True):
    assert level.shape == (2, 2, 3, 16)
    np.testing.assert_allclose(level.reshape(2, 6, 16), patches, atol=1e-5)


@pytest.mark.parametrize('section, field, value, message', [
  ('upernet', 'blocks', (1, 2, 3, 5), r'the encoder has 2 blocks; .*, as \(1, 1, 2, 2\)'),
  ('upernet', 'blocks', (1, 3, 2, 4), 'must be in rising order'),
  ('upernet', 'dropout', 1.0, 'must be in'), ('optim', 'ema_momentum', 0.9, 'must be 0 with config.upernet')])
def test_bad_fields_are_refused_in_one_line(config, section, field, value, message):
  place = config[section]
  sound, place[field] = place[field], value
  try:
    with pytest.raises(ConfigError, match=f'config.{section}.{field}=.*: .*{message}') as failure:
      Experiment.parse(config)
    assert '\n' not in str(failure.value)
  finally:
    place[field] = sound


@pytest.mark.slow
def test_ade20k_at_its_real_size():
  """Shapes of a step on a ViT-S/16 with a class token: steps, channels, and maps of a quarter of a patch."""
  config = completed(segmentation_upernet_extrema.get_config())
  experiment = Experiment.parse(config)
  program = experiment.program(20_210, make_mesh(devices=jax.devices()[:1]))
  assert program.total_steps == 80_000
  batch = program.batch(config.data.canvas)
  assert batch['label_map'].shape == (16, 1024, 1024) and batch['label_map'].dtype == jnp.uint8
  objective, state = experiment.objective, program.state
  logits = jax.eval_shape(objective.segment, state.params, state.model_state, jnp.zeros((2, 512, 512, 3)))
  assert logits.shape == (2, 128, 128, 150)
