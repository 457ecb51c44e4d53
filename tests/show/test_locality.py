"""Boxes, their overlap and their ranking, by hand."""

import jax.numpy as jnp
import numpy as np

from maskrep.models.encoder import Preprocessing
from maskrep.show import locality

PLAIN = Preprocessing(size=8, crop_fraction=1.0, mean=(0.0,) * 3, std=(1.0,) * 3)


def test_overlap_by_hand():
  box = np.array([0.0, 0.0, 0.5, 0.5])
  others = np.array([[0, 0, 0.5, 0.5], [0.25, 0, 0.5, 0.5], [0, 0, 1, 1], [0.5, 0.5, 0.5, 0.5]])
  np.testing.assert_allclose(locality.iou(box, others), [1, 1 / 3, 1 / 4, 0])


def test_boxes_lie_in_the_image_five_per_scale():
  boxes, queries = locality.draw_boxes(3, 40), locality.draw_queries(3, 40)
  assert boxes.shape == (40, 25, 4) and queries.shape == (40, 4)
  for each in boxes.reshape(-1, 4), queries:
    assert (each[:, :2] >= 0).all() and (each[:, :2] + each[:, 2:] <= 1 + 1e-6).all()
    np.testing.assert_array_equal(each[:, 2], each[:, 3])
  np.testing.assert_allclose(boxes[0, :, 2], np.repeat(locality.SCALES, 5), rtol=1e-6)
  assert len(np.unique(boxes[:, :, 0])) == 1000 and set(queries[:, 2]) == set(boxes[0, :, 2])
  np.testing.assert_array_equal(locality.draw_boxes(3, 40), boxes)


def test_partners_are_of_the_class():
  assert locality.partners(np.array([1, 0, 1, -1, 0, 1, 2, -1])).tolist() == [2, 4, 5, -1, 1, 0, -1, -1]


def test_an_encoder_of_mean_colours_ranks_by_the_colour_under_the_box():
  """Red from the left to the right, green from the top to the bottom; the query is the box at the top right."""
  canvas = np.zeros((64, 64, 3), np.uint8)
  canvas[:40, :60, 0], canvas[:40, :60, 1] = np.linspace(0, 240, 60), np.linspace(0, 240, 40)[:, None]
  boxes = np.array([[0, 0, 0.5, 0.5], [0, 0.5, 0.5, 0.5], [0.5, 0, 0.5, 0.5], [0.25, 0.25, 0.5, 0.5],
                    [0, 0.5, 0.5, 0.5]], np.float32)
  found = np.asarray(locality.encode_boxes(
    lambda images: images.mean(axis=(1, 2)), PLAIN, jnp.array([canvas, canvas[::-1]]), jnp.array([[40, 60]] * 2),
    jnp.array([boxes] * 2)))
  assert found.shape == (2, 5, 3)
  np.testing.assert_allclose(255 * found[0, 1], [180, 60, 0], atol=4)  # of the middle of the box
  order = locality.ranked(found[:1, :4], found[:1, 4])[0].tolist()
  assert order[0] == 1 and order[-1] == 2 and set(order[1:3]) == {0, 3}


def test_the_boxes_are_drawn_in_their_order():
  image = np.zeros((20, 40, 3), np.uint8)
  boxes = locality.draw_boxes(0, 1)
  order = np.arange(25)[None, ::-1]
  found = locality.columns([image], boxes, order, [image], locality.WHOLE[None], 80)
  assert list(found) == ['query', 'rank 1', 'rank 2', 'rank 3', 'rank 25']
  for name, box, colour in ('rank 1', boxes[0, 24], locality.BOX), ('rank 25', boxes[0, 0], locality.BOX), (
    'query', locality.WHOLE, locality.OWN):
    pixels = np.round(255 * found[name][0])
    assert (pixels[41:] == 255).all()  # below the image
    rows, columns = np.nonzero((pixels == colour).all(-1))
    np.testing.assert_allclose([rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1],
                               box * [40, 80, 40, 80], atol=1.5)
