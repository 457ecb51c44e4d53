"""Classification from a config: what an encoder's kind and the sections of the config allow."""

import re

import jax
from ml_collections import ConfigDict
import pytest

from maskrep.configs.evaluation import finetune, linear
from maskrep.errors import ConfigError
from maskrep.experiment.experiment import Experiment
from tests.support.tiny import completed, shrink


@pytest.mark.parametrize(('kind', 'field', 'value', 'says'), [
  ('vit', 'encoder.kind', '', "config.encoder.kind='': must be one of vit, cait, resnet"),
  ('vit', 'views.size', 0, 'config.views.size=0: must be at least 1'),
  ('vit', 'views.size', 60, 'config.views.size=60: must be a multiple of config.encoder.patch_size=16'),
  ('vit', 'views.rand_deviation', -1.0, 'config.views.rand_deviation=-1.0: must be'),
  ('cait', 'encoder.width', 18, 'config.encoder.width=18: must be a multiple of 4'),
  ('vit', 'regularisation.num_classes', 0, 'config.regularisation.num_classes=0: must be at least 2'),
  ('vit', 'objective.layers', 2, 'config.objective.layers=2: must be'),
  ('resnet', 'objective.layer_decay', 0.5, 'config.objective.layer_decay=0.5: must be 1 for a ResNet'),
  ('resnet', 'optim.ema_momentum', 0.9, 'config.optim.ema_momentum=0.9: must be 0 if running statistics')])
def test_a_config_that_cannot_be_is_answered_by_one_line(kind, field, value, says):
  config = shrink(completed(finetune.get_config(), kind))
  config.update_from_flattened_dict({field: value})
  with pytest.raises(ConfigError, match='^' + re.escape(says)):
    Experiment.parse(config)


def test_the_number_of_layers_is_a_field_of_the_probe():
  config = shrink(completed(linear.get_config()))
  config.objective.update(layers=2, pooling='both')
  probe = Experiment.parse(config).objective
  params, _ = jax.eval_shape(probe.init, jax.random.key(0))
  assert params['classifier']['dense']['kernel'].shape == (2 * 2 * 16, 10)
  assert isinstance(config, ConfigDict) and probe.num_classes == 10
