"""Mean IoU: by hand, against scikit-learn's counts, and of pictures at their true size."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, jaccard_score

from maskrep.data.label_maps import MapValues, lookup
from maskrep.data.sources.source import Example
from maskrep.devices.mesh import make_mesh
from maskrep.errors import DataError
from maskrep.evaluation.metrics import segmentation
from maskrep.models.encoder import Preprocessing
from tests.support.evaluator import DATA


@pytest.mark.parametrize('counts, iou, accuracy', [
  ([[4, 0], [0, 6]], [1, 1], 1),
  ([[2, 2], [1, 5]], [2 / 5, 5 / 8], 7 / 10),
  ([[3, 0, 0], [1, 0, 0], [0, 0, 0]], [3 / 4, 0, np.nan], 3 / 4),  # the last neither occurs nor is predicted
  ([[3, 0, 1], [0, 0, 0], [0, 0, 0]], [3 / 4, np.nan, 0], 3 / 4),  # a class that is only predicted counts
])
def test_scores_by_hand(counts, iou, accuracy):
  found = segmentation.scores(np.array(counts, np.int64))
  np.testing.assert_allclose(found.class_iou, iou)
  assert found.mean_iou == pytest.approx(np.nanmean(iou)) and found.pixel_accuracy == pytest.approx(accuracy)


def test_nothing_to_judge_ends_it():
  with pytest.raises(DataError, match='eval_split: none of its pixels has a class'):
    segmentation.scores(np.zeros((3, 3), np.int64))


def test_scores_are_those_of_scikit_learn():
  random = np.random.default_rng(0)
  truth = random.integers(0, 7, 5000)
  predicted = np.where(random.uniform(size=5000) < 0.6, truth, random.integers(0, 7, 5000))
  found = segmentation.scores(confusion_matrix(truth, predicted))
  np.testing.assert_allclose(found.class_iou, jaccard_score(truth, predicted, average=None))
  assert found.mean_iou == pytest.approx(jaccard_score(truth, predicted, average='macro'))
  assert found.pixel_accuracy == pytest.approx((truth == predicted).mean())


class Pictures:
  """Random pictures of several sizes; the class of a pixel is in the picture, but not always in the map."""

  num_classes, map_classes, map_lookup, fingerprint = 0, 3, lookup(MapValues((0, 1, 2))), 'pictures'
  sizes = [(12, 12), (6, 12), (12, 3), (5, 7), (12, 12)]

  def __len__(self):
    return len(self.sizes)

  def __getitem__(self, i):
    random = np.random.default_rng(i)
    truth, shown = random.integers(0, 3, (2, *self.sizes[i])).astype(np.uint8)
    return Example(shown * 100, -1, f'picture {i}', np.where(random.uniform(size=truth.shape) < 0.2, 255, truth))


def test_counts_are_those_of_each_pixel_at_its_true_size():
  """Logits on a coarse grid, moved to the pixels of each picture by an independent interpolation."""
  source, mesh, weights = Pictures(), make_mesh(), np.random.default_rng(9).normal(size=(48, 3)).astype(np.float32)

  def segment(params, images):
    cells = images.reshape(len(images), 3, 4, 3, 4, 3).swapaxes(2, 3).reshape(len(images), 3, 3, 48)
    return cells @ params

  preprocessing = Preprocessing(size=12, crop_fraction=1.0, mean=(0.5,) * 3, std=(0.5,) * 3)
  count = segmentation.jit_confusion(segment, preprocessing, classes=3, stride=0, mesh=mesh)
  batch_size = 2 * jax.device_count()
  found = segmentation.confusion(
    count, weights, source, dataclasses.replace(DATA, canvas=12), classes=3, batch_size=batch_size, mesh=mesh)

  truths, predictions = [], []
  for image, _, _, truth, *_ in source:
    square = jax.image.resize(np.repeat(image[..., None] / 255, 3, -1), (12, 12, 3), 'linear')
    logits = segment(weights, (square[None] - 0.5) / 0.5)[0]
    if min(image.shape) < 5:  # reducing, jax would average
      across = (np.arange(image.shape[1]) + 0.5) * 3 / image.shape[1] - 0.5
      assert across.tolist() == [0, 1, 2]
    logits = jax.image.resize(logits, (*image.shape, 3), 'linear', antialias=False)
    truths.append(truth[truth < 255])
    predictions.append(np.asarray(logits.argmax(-1))[truth < 255])
  expected = confusion_matrix(np.concatenate(truths), np.concatenate(predictions))
  assert found.dtype == np.int64
  np.testing.assert_array_equal(found, expected)
  assert found.sum() == sum((e.label_map < 255).sum() for e in source)


def test_a_class_that_is_nowhere_does_not_count_as_wrong():
  logits = jnp.zeros((1, 2, 2, 3)).at[..., 1].set(1)
  preprocessing = Preprocessing(size=4, crop_fraction=1.0, mean=(0.0,) * 3, std=(1.0,) * 3)
  count = segmentation.jit_confusion(
    lambda params, images: logits, preprocessing, classes=3, stride=0, mesh=make_mesh(devices=jax.devices()[:1]))
  found = count((), np.zeros((1, 4, 4, 3), np.uint8), np.array([[4, 4]]), np.ones((1, 4, 4), np.uint8))
  assert segmentation.scores(np.asarray(found, np.int64)).mean_iou == 1
