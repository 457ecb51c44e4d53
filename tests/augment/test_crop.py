import functools

from hypothesis import given
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest
from scipy import stats

from maskrep.augment import crop

RATIO = (3 / 4, 4 / 3)


@functools.partial(jax.jit, static_argnums=0)
def boxes(count, size, scale, ratio=RATIO):
  draw = functools.partial(crop.random_crop_box, size=size, scale=scale, ratio=ratio)
  return jax.vmap(draw)(jax.random.split(jax.random.key(0), count))


@functools.partial(jax.jit, static_argnums=2)
def cut(canvas, box, out_size, flip=False):
  return crop.resample(canvas, box, out_size, flip=flip, within=box)


def photo(height, width, canvas=None, padding=0):
  side = canvas or max(height, width)
  image = np.full((side, side, 3), padding, np.uint8)
  image[:height, :width] = np.random.default_rng(height * width).integers(0, 256, (height, width, 3))
  return image


def pillow(image, box, out_size):
  """Crops and resizes each plane in Pillow's float mode, which does not round."""
  top, left, height, width = box
  planes = [Image.fromarray(plane.astype(np.float32)) for plane in np.moveaxis(image, -1, 0)]
  window = (left, top, left + width, top + height)
  return np.stack([np.asarray(p.crop(window).resize((out_size,) * 2, Image.Resampling.BILINEAR)) for p in planes]) / 255


@given(st.integers(1, 600), st.integers(1, 600), st.sampled_from([(0.05, 0.3), (0.3, 1.0), (1.0, 1.0)]))
def test_boxes_are_whole_and_inside(height, width, scale):
  box = np.asarray(boxes(32, jnp.array([height, width]), scale))
  assert box.dtype == np.float32 and (box == np.round(box)).all()
  assert (box[:, :2] >= 0).all() and (box[:, 2:] >= 1).all()
  assert (box[:, :2] + box[:, 2:] <= [height, width]).all()


# Boxes of the second are now and then central ones.
@pytest.mark.parametrize('size', [(375, 500), (100, 350)])
def test_boxes_are_distributed_as_torchvisions(reference, size):
  torch = pytest.importorskip('torch')
  from torchvision.transforms import RandomResizedCrop

  torch.manual_seed(0)
  image = torch.empty(3, *size)
  theirs = np.array([RandomResizedCrop.get_params(image, [0.3, 1.0], list(RATIO)) for _ in range(2000)], np.float32)
  ours = np.asarray(boxes(4000, jnp.array(size), (0.3, 1.0)))
  for of in (lambda b: b[:, 2] * b[:, 3], lambda b: b[:, 3] / b[:, 2], lambda b: b[:, 0], lambda b: b[:, 1]):
    assert stats.ks_2samp(of(ours), of(theirs)).pvalue > 1e-3


def test_every_place_is_equally_likely():
  drawn = np.asarray(boxes(4500, np.array([3, 3]), (1 / 9, 1 / 9), (1.0, 1.0)))
  places, counts = np.unique(drawn, axis=0, return_counts=True)
  assert len(places) == 9 and stats.chisquare(counts).pvalue > 1e-3


def test_box_without_a_fit_is_the_largest_central_one():
  for size, box in [((1, 500), (0, 249, 1, 1)), ((500, 30), (230, 0, 40, 30)), ((1, 1), (0, 0, 1, 1))]:
    assert np.asarray(boxes(16, jnp.array(size), (0.3, 1.0))).tolist() == [list(box)] * 16


def test_jit_equals_eager():
  size, image = np.array([30, 40]), photo(30, 40)
  box = crop.random_crop_box(jax.random.split(jax.random.key(0), 2)[1], size, scale=(0.3, 1.0), ratio=RATIO)
  np.testing.assert_array_equal(box, boxes(2, size, (0.3, 1.0))[1])
  eager = crop.resample(jnp.array(image), box, 7, flip=True, within=box)
  np.testing.assert_allclose(cut(image, box, 7, True), eager, atol=1e-6)


@pytest.mark.parametrize('out_size', [7, 24, 61])
@pytest.mark.parametrize('box', [(0, 0, 37, 53), (3, 5, 24, 24), (11, 2, 5, 50), (36, 52, 1, 1)])
def test_resample_is_crop_then_resize(reference, out_size, box):
  image = photo(37, 53)
  ours = cut(image, jnp.array(box, jnp.float32), out_size)
  assert ours.shape == (3, out_size, out_size) and ours.dtype == jnp.float32
  np.testing.assert_allclose(ours, pillow(image, box, out_size), atol=5e-6)
  planes = (np.moveaxis(image, -1, 0) / 255).astype(np.float32)
  np.testing.assert_allclose(
    ours, reference('resized_crop', planes, *box, [out_size, out_size], antialias=True), atol=5e-6)


@given(st.data())
def test_nothing_outside_the_box_leaks_in(data):
  height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
  top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
  box = (top, left, data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left)))
  image = np.full((40, 40, 3), 255, np.uint8)
  image[top : top + box[2], left : left + box[3]] = 0
  assert not np.asarray(cut(image, jnp.array(box, jnp.float32), 13)).any()


@functools.partial(jax.jit, static_argnums=2)
def cut_map(label_map, box, out_size, flip=False):
  return crop.nearest(label_map, jnp.asarray(box, jnp.float32), out_size, flip=flip)


@pytest.mark.parametrize('box, flip, expected', [
  ((0, 0, 4, 4), False, [[5, 7], [13, 15]]),
  ((0, 0, 4, 4), True, [[7, 5], [15, 13]]),
  ((1, 0, 2, 3), False, [[4, 6], [8, 10]]),
  ((3, 2, 1, 1), True, [[14, 14], [14, 14]]),
])
def test_nearest_by_hand(box, flip, expected):
  found = cut_map(np.arange(16, dtype=np.uint8).reshape(4, 4), box, 2, flip)
  assert found.dtype == np.uint8
  np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize('box', [(0, 0, 37, 53), (11, 2, 5, 50), (36, 52, 1, 1)])
@pytest.mark.parametrize('out_size', [7, 61])
def test_nearest_is_crop_then_pillows_nearest(box, out_size):
  label_map = photo(53, 53)[..., 0]
  top, left, height, width = box
  theirs = Image.fromarray(label_map[top : top + height, left : left + width]).resize(
    (out_size,) * 2, Image.Resampling.NEAREST)
  np.testing.assert_array_equal(cut_map(label_map, box, out_size), theirs)


@pytest.mark.parametrize('flip', [False, True])
@pytest.mark.parametrize('axis', [0, 1])
def test_nearest_lies_on_what_resample_shows(axis, flip):
  """Of two colours in stripes, enlarged, the nearer one has more than half of the weight."""
  stripes = np.random.default_rng(0).integers(0, 2, 20).astype(np.uint8)
  label_map = np.broadcast_to(np.expand_dims(stripes, 1 - axis), (20, 20))
  box = (3, 5, 11, 13)
  shown = cut(np.repeat(label_map[..., None] * np.uint8(255), 3, -1), jnp.array(box, jnp.float32), 33, flip)[0]
  found = np.asarray(cut_map(label_map, box, 33, flip))
  np.testing.assert_array_equal(found[shown > 0.51], 1)
  np.testing.assert_array_equal(found[shown < 0.49], 0)
  assert 0 < found.mean() < 1


def test_flip_mirrors_left_and_right():
  image, box = photo(20, 30), jnp.array([2.0, 3.0, 15.0, 21.0])
  np.testing.assert_array_equal(cut(image, box, 11, True), cut(image, box, 11)[:, :, ::-1])


@pytest.mark.parametrize('size', [(37, 53), (53, 37), (40, 40), (9, 31), (1, 50)])
@pytest.mark.parametrize('fraction', [0.875, 1.0])
def test_center_crop_is_resize_then_center_crop(reference, size, fraction):
  image = photo(*size, canvas=53, padding=255)
  whole = jnp.array([0.0, 0.0, *size])
  box = crop.center_crop_box(jnp.array(size), 28, fraction)
  ours = crop.resample(image, box, 28, flip=False, within=whole)
  planes = (np.moveaxis(image[: size[0], : size[1]], -1, 0) / 255).astype(np.float32)
  resized = reference('resize', planes, [round(28 / fraction)], antialias=True)
  np.testing.assert_allclose(ours, reference('center_crop', resized, [28, 28]), atol=1e-5)
