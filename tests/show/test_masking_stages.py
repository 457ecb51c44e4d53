import dataclasses

import jax
import numpy as np
import pytest

from maskrep.augment.views import normalise
from maskrep.configs import mscn_digits, msn_digits
from maskrep.experiment.drawing import SUBJECTS, one_batch
from maskrep.experiment.experiment import Experiment
from maskrep.masking.pixels import PixelMask
from maskrep.masking.tokens import num_kept
from maskrep.show.masking_stages import stages
from tests.support.tiny import shrink

RECIPE = PixelMask(cell=8, ratio=0.15, focal=0.2, focal_area=(0.1, 0.4), channelwise=0.7, noise_std=0.5)


def test_every_stage_is_what_its_caption_says():
  image = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
  normalised = normalise(image.transpose(2, 0, 1) / np.float32(255), (0.5,) * 3, (0.2,) * 3)
  original, filtered, grid, focal, by_channel, noise = stages(jax.random.key(0), normalised, RECIPE, 5.0).values()
  np.testing.assert_array_equal(original, normalised)
  hidden = [np.asarray(x) != np.asarray(filtered) for x in (grid, focal, by_channel)]
  assert [round(x.mean(), 3) for x in (hidden[0], hidden[2])] == [round(5 / 30, 3)] * 2
  assert (hidden[0] == hidden[0][..., :1]).all() and hidden[1].mean() > 0.55
  assert not (hidden[2] == hidden[2][..., :1]).all()
  np.testing.assert_array_equal(np.asarray(noise)[~hidden[2]], np.asarray(filtered)[~hidden[2]])
  assert np.std(np.asarray(noise)[hidden[2]]) == pytest.approx(0.5, rel=0.1)


def test_the_stages_of_a_config_are_of_its_own_recipe():
  experiment = Experiment.parse(shrink(mscn_digits.get_config()))
  objective = experiment.objective
  batch = one_batch(experiment.data, None, objective.reads, 0)
  found = SUBJECTS['stages'](objective, batch, 0)
  assert list(found) == [
    'original', 'high-pass', 'grid mask', 'focal mask', 'grid, by channel', 'grid, by channel, noise']
  plain = dataclasses.replace(objective.preprocessing, high_pass_sigma=0.0, mean=(0.0,) * 3, std=(1.0,) * 3)
  np.testing.assert_allclose(found['original'], plain(batch['image'], batch['size']), atol=1e-6)
  cells = (objective.preprocessing.size // objective.first_mask.cell)**2
  hidden = (found['grid mask'] == 0.5).all(-1).mean((1, 2)) * cells
  assert hidden.tolist() == [cells - num_kept(cells, objective.first_mask.ratio)] * 4
  msn = Experiment.parse(shrink(msn_digits.get_config())).objective
  assert SUBJECTS['stages'](msn, batch, 0) == {}
