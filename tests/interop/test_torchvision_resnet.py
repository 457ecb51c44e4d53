"""Names of a ResNet's weights: there and back is the same bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskrep.interop.torchvision_resnet import from_torchvision, to_torchvision
from maskrep.models.resnet import ResNet


@pytest.mark.parametrize('depth', [18, 50])
def test_round_trip_is_the_same_bits(depth):
  shapes = jax.eval_shape(ResNet(depth, 1 / 16).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
  rng = np.random.default_rng(0)
  variables = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)
  state = to_torchvision(variables['params'], variables['batch_stats'])
  assert len(state) == len(jax.tree.leaves(variables))
  params, batch_stats = from_torchvision(state | {'fc.weight': 0, 'fc.bias': 0, 'bn1.num_batches_tracked': 3})
  back = {'params': params, 'batch_stats': batch_stats}
  assert jax.tree.structure(back) == jax.tree.structure(variables)
  jax.tree.map(np.testing.assert_array_equal, back, variables)


def test_a_stranger_s_name_is_refused():
  with pytest.raises(ValueError, match="'layer1.0.se.weight' is not a name"):
    from_torchvision({'layer1.0.se.weight': np.zeros(1)})
