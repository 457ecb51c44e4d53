"""What the pictures of trained encoders compute, by hand."""

import io

import numpy as np
from PIL import Image, ImageDraw
import pytest

from maskrep.show.components import colours
from maskrep.show.kernels import blank, first_kernels, pixels
from maskrep.show.nearest import nearest, perplexity, use
from maskrep.show.tiles import Tile, shortened, tiles_png

pytestmark = pytest.mark.quick


def test_the_nearest_by_angle_and_never_itself():
  bank = np.array([[1.0, 0.0], [0.0, 5.0], [3.0, 3.0], [-1.0, 0.0]])
  places, similarity = nearest(np.array([[2.0, 0.1], [0.0, 0.1]]), bank, 3)
  assert places.tolist() == [[0, 2, 1], [1, 2, 0]]
  assert similarity[1].tolist() == pytest.approx([1, 0.5**0.5, 0])
  places, _ = nearest(bank[[0, 2]], bank, 3, own=np.array([0, -1]))
  assert places.tolist() == [[2, 1, 3], [2, 0, 1]]


def test_the_use_of_prototypes():
  assignments = np.log([[0.7, 0.2, 0.05, 0.05], [0.6, 0.3, 0.05, 0.05], [0.1, 0.8, 0.05, 0.05], [0.1, 0.8, 0.05, 0.05]])
  assert use(assignments).tolist() == [0.5, 0.5, 0, 0]
  assert perplexity(np.array([0.5, 0.5, 0, 0])) == pytest.approx(2) and perplexity(np.array([1.0, 0, 0])) == 1


def test_components_are_the_colours_of_tokens():
  random = np.random.default_rng(0)
  basis, _ = np.linalg.qr(random.normal(size=(7, 7)))
  basis = basis[:, :4] * np.sign(basis[np.abs(basis[:, :4]).argmax(0), range(4)])
  weights = random.uniform(-1, 1, (3, 200, 4)) * [8, 4, 2, 1]
  found, share = colours(weights @ basis.T + random.normal(size=7))
  for component in range(3):
    expected, shown = weights[..., component].ravel(), found[..., component].ravel()
    assert np.corrcoef(expected, shown)[0, 1] > 0.99 and shown.min() == 0 and shown.max() == 1
  assert share == pytest.approx((64 + 16 + 4) / 85, abs=0.01)
  # The first is that of all images together: two images that differ differ in colour.
  two = np.zeros((2, 9, 5))
  two[1, :, 2] = 1
  assert colours(two)[0][:, :, 0].tolist() == [[0.0] * 9, [1.0] * 9]


def test_kernels_of_both_kinds_are_the_same_picture():
  kernels = np.random.default_rng(0).normal(size=(4, 4, 3, 6)).astype(np.float32) * [1, 2, 0.01, 3, 4, 0.02]
  by_norm = [4, 3, 1, 0, 5, 2]
  found = first_kernels({'conv1.kernel': kernels})
  np.testing.assert_array_equal(found, np.moveaxis(kernels, -1, 0)[by_norm])
  # A row of the patches' matrix is a pixel of one colour, row by row, see `vit.patchify`.
  np.testing.assert_array_equal(first_kernels({'embed.kernel': kernels.reshape(48, 6)}), found)
  assert blank(found) == 2
  shown = pixels(found)
  assert abs(shown[-1] - 0.5).max() < 0.02 and shown[0].std() > 0.1  # one scale: blank kernels are grey
  with pytest.raises(ValueError, match='has neither'):
    first_kernels({'fc.kernel': kernels})


def test_tiles_by_hand():
  images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3)) / 255
  rows = [[Tile(images[0], 'a', 'red'), Tile(images[1])], [Tile(images[2] + 2, 'a caption that is far too long')]]
  with Image.open(io.BytesIO(tiles_png(rows, 16))) as picture:
    sheet = np.asarray(picture)
  assert sheet.shape == (2 * (16 + 6 + 4 + 16) + 4, 2 * (16 + 6 + 4) + 4, 3)
  np.testing.assert_array_equal(sheet[23:39:2, 7:23:2], np.round(images[0] * 255))
  np.testing.assert_array_equal(sheet[24:39:2, 34:49:2], np.round(images[1] * 255))
  assert (sheet[20:23, 4:26] == [255, 0, 0]).all() and (sheet[65:81, 7:23] == 255).all()
  draw = ImageDraw.Draw(Image.new('RGB', (1, 1)))
  assert shortened('short', 60, draw) == 'short'
  cut = shortened('a caption that is far too long', 60, draw)
  assert cut.endswith('...') and 40 < draw.textlength(cut) <= 60
