import jax
import numpy as np
from PIL import Image
import pytest

from maskrep.augment.views import normalise
from maskrep.masking.pixels import PixelMask
from maskrep.show.masking_stages import save_masking_stages, stages

RECIPE = PixelMask(cell=8, ratio=0.15, focal=0.2, focal_area=(0.1, 0.4), channelwise=0.7, noise_std=0.5)


@pytest.fixture(scope='module')
def image():
  return np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)


def test_every_stage_is_what_its_caption_says(image):
  normalised = normalise(image.transpose(2, 0, 1) / np.float32(255), (0.5,) * 3, (0.2,) * 3)
  original, filtered, grid, focal, by_channel, noise = stages(jax.random.key(0), normalised, RECIPE, 5.0).values()
  np.testing.assert_array_equal(original, normalised)
  hidden = [np.asarray(x) != np.asarray(filtered) for x in (grid, focal, by_channel)]
  assert [round(x.mean(), 3) for x in (hidden[0], hidden[2])] == [round(5 / 30, 3)] * 2
  assert (hidden[0] == hidden[0][..., :1]).all() and hidden[1].mean() > 0.55
  assert not (hidden[2] == hidden[2][..., :1]).all()
  np.testing.assert_array_equal(np.asarray(noise)[~hidden[2]], np.asarray(filtered)[~hidden[2]])
  assert np.std(np.asarray(noise)[hidden[2]]) == pytest.approx(0.5, rel=0.1)


def test_the_file_is_written(image, tmp_path):
  path = tmp_path / 'stages.png'
  save_masking_stages(path, jax.random.key(0), image, RECIPE, sigma=5.0, mean=(0.5,) * 3, std=(0.2,) * 3)
  with Image.open(path) as sheet:
    assert sheet.size == (3 * 48, 2 * (40 + 16)) and sheet.format == 'PNG'
    np.testing.assert_array_equal(np.asarray(sheet)[16:56, :48], image)
