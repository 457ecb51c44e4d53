from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskrep.errors import ConfigError
from maskrep.models.cait import CaiT
from maskrep.models.encoder import describe, represent
from maskrep.models.vit import ViT

SIZES = dict(patch_size=4, width=16, heads=2, image_size=12)


def first_blocks(variables, depth):
  """The parameters of a ViT of the first `depth` blocks, under the same final norm."""
  drop = [f'block{i}' for i in range(depth, 3)]
  return {'params': {name: leaf for name, leaf in variables['params'].items() if name not in drop}}


@pytest.mark.parametrize(('pooling', 'class_token'), [
  ('class_token', True), *(pytest.param(*case, marks=pytest.mark.slow) for case in (
    ('average', True), ('both', True), ('average', False)))])
def test_layers_are_what_a_shallower_encoder_ends_with(pooling, class_token):
  images = jax.random.normal(jax.random.key(0), (2, 12, 12, 3))
  keep_idx = jnp.array([[0, 4, 7], [1, 2, 8]])
  encoder = ViT(**SIZES, depth=3, scan=True, class_token=class_token)
  variables = jax.jit(encoder.init)(jax.random.key(1), images)
  variables['params']['norm'] = jax.tree.map(lambda leaf: leaf + 0.3, variables['params']['norm'])
  see = jax.jit(represent, static_argnums=0, static_argnames=('pooling', 'layers'))
  found = see(encoder, variables, images, keep_idx, pooling=pooling, layers=3)
  expected = [see(ViT(**SIZES, depth=depth, class_token=class_token), first_blocks(variables, depth), images,
                  keep_idx, pooling=pooling, layers=1) for depth in (1, 2, 3)]
  np.testing.assert_allclose(found, np.concatenate(expected, axis=-1), atol=1e-5)


def test_without_a_class_token_the_average_represents_the_image_in_every_pooling():
  images = jax.random.normal(jax.random.key(0), (2, 12, 12, 3))
  encoder = ViT(**SIZES, depth=2, class_token=False)
  variables = jax.jit(encoder.init)(jax.random.key(1), images)
  average, token = (
    jax.jit(lambda v, pooling=pooling: represent(encoder, v, images, pooling=pooling, layers=1))(variables)
    for pooling in ('average', 'class_token'))
  np.testing.assert_array_equal(average, token)
  assert variables['params']['pos'].shape == (9, 16) and describe(encoder)[1]['class_token'] is False


@pytest.mark.parametrize('encoder', [ViT(**SIZES, depth=2, scan=True), CaiT(**SIZES, depth=2, class_depth=1)],
                         ids=['vit', 'cait'])
def test_without_the_final_norm_it_is_what_the_norm_is_given(encoder):
  images = jax.random.normal(jax.random.key(0), (2, 12, 12, 3))
  variables = jax.jit(encoder.init)(jax.random.key(1), images)
  variables['params']['norm'] = jax.tree.map(lambda leaf: leaf + 0.3, variables['params']['norm'])

  @jax.jit
  def both(variables):
    return [represent(encoder, variables, images, pooling='class_token', layers=1, final_norm=final)
            for final in (True, False)]

  normed, raw = map(np.asarray, both(variables))
  scale, bias = variables['params']['norm']['scale'], variables['params']['norm']['bias']
  unit = (raw - raw.mean(1, keepdims=True)) / np.sqrt(raw.var(1, keepdims=True) + 1e-6)
  np.testing.assert_allclose(unit * scale + bias, normed, atol=1e-5)
  assert np.abs(raw - normed).max() > 0.1


def test_what_has_no_layers_says_so():
  images = jnp.zeros((1, 12, 12, 3))
  for encoder, layers in ((CaiT(**SIZES, depth=2), 2), (ViT(**SIZES, depth=2), 3)):
    with pytest.raises(ValueError, match=f'layers={layers}'):
      represent(encoder, {}, images, pooling='class_token', layers=layers)


def test_a_network_of_no_kind_says_so():
  assert describe(ViT(**SIZES, depth=2))[0] == 'vit'
  with pytest.raises(ConfigError, match='class Dense is of none of the kinds vit, cait, resnet'):
    describe(nn.Dense(3))
