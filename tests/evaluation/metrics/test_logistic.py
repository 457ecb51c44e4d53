import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from maskrep.evaluation.metrics import logistic
from maskrep.evaluation.metrics.logistic import TooFewLabels, cross_validated, draw_examples, fit, low_shot, predict


@pytest.fixture(scope='module')
def digits():
  """Pixels in [0, 1]: features and labels of 80 % for training, then of 20 % for testing."""
  features, labels = load_digits(return_X_y=True)
  order = np.random.default_rng(0).permutation(len(labels))
  train, test = np.split(order, [int(0.8 * len(labels))])
  features = (features / 16).astype(np.float32)
  return features[train], labels[train], features[test], labels[test]


def objective(weights, bias, features, labels, l2):
  """What `fit` minimises, in float64."""
  logits = features.astype(np.float64) @ np.asarray(weights, np.float64) + np.asarray(bias, np.float64)
  logits -= logits.max(axis=1, keepdims=True)
  chosen = logits[np.arange(len(labels)), labels]
  losses = np.log(np.exp(logits).sum(axis=1)) - chosen
  return losses.sum() + l2 / 2 * np.sum(np.asarray(weights, np.float64) ** 2)


def sklearn_fit(features, labels, l2):
  return LogisticRegression(C=1 / l2, tol=1e-8, max_iter=10_000).fit(features.astype(np.float64), labels)


@pytest.mark.parametrize('l2', [0.1, 10.0])
def test_parity_with_sklearn(digits, l2):
  train, labels, test = digits[0][:500], digits[1][:500], digits[2]
  offset = train.mean(axis=0)
  found, expected = fit(train - offset, labels, num_classes=10, l2=l2), sklearn_fit(train - offset, labels, l2)
  assert objective(*found, train - offset, labels, l2) == pytest.approx(
    objective(expected.coef_.T, expected.intercept_, train - offset, labels, l2), rel=1e-6)
  np.testing.assert_allclose(found.weights, expected.coef_.T, atol=1e-4)
  np.testing.assert_allclose(found.bias, expected.intercept_, atol=1e-4)
  assert np.mean(np.asarray(predict(found, test - offset)) == expected.predict(test - offset)) >= 0.995


def test_raw_features_are_solved_as_well(digits):
  train, labels, test = digits[0][:500], digits[1][:500], digits[2]
  expected = fit(train, labels, num_classes=10, l2=0.1)
  found = fit(16 * train + 10, labels, num_classes=10, l2=0.1 * 16**2)
  np.testing.assert_allclose(16 * found.weights, expected.weights, atol=1e-3)
  np.testing.assert_array_equal(predict(found, 16 * test + 10), predict(expected, test))


def test_unlabelled_examples_have_no_say_and_repeats_count(digits):
  train, labels = digits[0][:500], digits[1][:500]
  found = fit(train, np.where(np.arange(500) < 250, labels, -1), num_classes=10, l2=0.1)
  expected = sklearn_fit(train[:250] - train.mean(axis=0), labels[:250], 0.1)
  np.testing.assert_allclose(found.weights, expected.coef_.T, atol=1e-4)
  twice = fit(np.tile(train[:250], (2, 1)), np.tile(labels[:250], 2), num_classes=10, l2=0.2)
  np.testing.assert_allclose(twice.weights, expected.coef_.T, atol=1e-4)


def test_fewer_examples_than_dimensions_have_the_same_minimum():
  """Solved in the span of the examples: repeated ones, and one without a label, are in it as well."""
  random = np.random.default_rng(0)
  features = random.normal(size=(30, 80)).astype(np.float32) + 5
  features[25:] = features[:5]
  labels = np.arange(30) % 3
  found = fit(features, np.where(np.arange(30) == 10, -1, labels), num_classes=3, l2=0.1)
  kept = np.arange(30) != 10
  expected = sklearn_fit(features[kept] - features[kept].mean(axis=0), labels[kept], 0.1)
  np.testing.assert_allclose(found.weights, expected.coef_.T, atol=1e-4)
  bias = expected.intercept_ - features[kept].mean(axis=0) @ expected.coef_.T
  np.testing.assert_allclose(found.bias, bias, atol=1e-3)


def test_memory_is_that_of_the_features():
  """Pixels of 224 x 224, as the final table judges them; matrices of their dimensions would take 90 GB each."""
  shape = lambda *sizes, dtype=jnp.float32: jax.ShapeDtypeStruct(sizes, dtype)  # noqa: E731
  examples, tested, width = 45, 100, 224 * 224 * 3
  compiled = logistic._accuracies.lower(
    shape(2, examples, width), shape(3, examples, dtype=int), shape(tested, width), shape(tested, dtype=int),
    num_classes=9, l2=0.1, intercept=True).compile()
  assert compiled.memory_analysis().temp_size_in_bytes < 4 * 4 * (examples + tested) * width


def test_vmap_solves_as_one_by_one(digits):
  train, labels = digits[0][:1000].reshape(2, 500, -1), digits[1][:1000].reshape(2, 500)
  together = jax.vmap(lambda x, y: fit(x, y, num_classes=10, l2=0.1))(train, labels)
  for i in range(2):
    alone = fit(train[i], labels[i], num_classes=10, l2=0.1)
    np.testing.assert_allclose(together.weights[i], alone.weights, atol=1e-4)


def test_the_penalty_is_that_of_held_out_examples():
  """Sixty examples of fifty dimensions can be learned by heart, and only one dimension tells of the class."""
  random = np.random.default_rng(0)
  features = random.normal(size=(60, 50)).astype(np.float32)
  labels = (features[:, 0] + 0.5 * random.normal(size=60) > 0).astype(int)
  features[:, 0] *= 3
  found = {l2: np.mean(np.asarray(predict(fit(features, labels, num_classes=2, l2=l2), features)) == labels)
           for l2 in (0.1, 100.0)}
  assert found[0.1] == 1 > found[100.0]
  assert cross_validated(features, labels, num_classes=2, l2s=(0.1, 100.0), folds=5, seed=0) == 100
  # Dimensions that tell nothing, more than there are examples: the folds are solved in the span of these.
  wide = np.pad(features, ((0, 0), (0, 20_000)))
  assert cross_validated(wide, labels, num_classes=2, l2s=(0.1, 100.0), folds=5, seed=0) == 100
  # An example without a label is in no fold.
  more, none = np.concatenate([features, -features]), np.concatenate([labels, np.full(60, -1)])
  assert cross_validated(more, none, num_classes=2, l2s=(0.1, 100.0), folds=5, seed=0) == 100


def test_draws():
  labels = np.random.default_rng(0).permutation(np.repeat([-1, 0, 1, 2], [7, 5, 11, 13]))
  drawn = draw_examples(labels, num_classes=3, count=5, draws=4, seed=1)
  assert drawn.shape == (4, 3, 5)
  for draw in drawn:
    assert len(set(draw.ravel())) == 15
    np.testing.assert_array_equal(labels[draw], np.repeat([[0], [1], [2]], 5, axis=1))
  assert len({tuple(draw[2]) for draw in drawn}) == 4
  np.testing.assert_array_equal(drawn[..., :2], draw_examples(labels, num_classes=3, count=2, draws=4, seed=1))
  assert np.any(drawn != draw_examples(labels, num_classes=3, count=5, draws=4, seed=2))


def test_a_class_with_too_few_examples_is_named():
  with pytest.raises(TooFewLabels, match='class 1 has 2 '):
    draw_examples(np.array([0, 0, 0, 1, 1]), num_classes=2, count=3, draws=1, seed=0)


# One shape for all low-shot tests: it compiles once.
LOW_SHOT = dict(num_classes=10, labels_per_class=(5, 1, 2), draws=4)


def test_low_shot_is_sklearn_on_the_same_draws(digits):
  train, labels, test, test_labels = digits
  found = low_shot(*digits, **LOW_SHOT, seed=3)
  assert found.shape == (3, 4)
  mean = train.mean(axis=0)
  train, test = ((x - mean) / np.linalg.norm(x - mean, axis=1, keepdims=True) for x in (train, test))
  for row, count in zip(found, LOW_SHOT['labels_per_class'], strict=True):
    for accuracy, draw in zip(row, draw_examples(labels, num_classes=10, count=count, draws=4, seed=3), strict=True):
      expected = sklearn_fit(train[draw.ravel()], labels[draw.ravel()], 0.1)
      assert accuracy == pytest.approx(expected.score(test, test_labels), abs=0.005)


def test_low_shot_as_the_authors_of_msn_do_is_sklearn_without_an_intercept(digits):
  """Each example is centred over its channels."""
  train, labels, test, test_labels = digits
  found = low_shot(*digits, **LOW_SHOT, seed=3, centre='channels', intercept=False)
  train, test = (x - x.mean(axis=1, keepdims=True) for x in (train, test))
  train, test = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (train, test))
  drawn = draw_examples(labels, num_classes=10, count=5, draws=4, seed=3)
  for accuracy, draw in zip(found[0], drawn, strict=True):
    model = LogisticRegression(C=10, tol=1e-8, max_iter=10_000, fit_intercept=False)
    expected = model.fit(train[draw.ravel()].astype(np.float64), labels[draw.ravel()])
    assert accuracy == pytest.approx(expected.score(test, test_labels), abs=0.005)


def test_low_shot_knows_neither_offset_nor_scale(digits):
  train, labels, test, test_labels = digits
  moved = low_shot(0.1 * train + 1, labels, 0.1 * test + 1, test_labels, **LOW_SHOT)
  np.testing.assert_allclose(moved, low_shot(*digits, **LOW_SHOT), atol=0.005)


def test_features_that_tell_nothing_are_at_chance(digits):
  train, labels, test, test_labels = digits
  accuracy = low_shot(np.ones_like(train), labels, np.ones_like(test), test_labels, **LOW_SHOT)
  assert np.all(accuracy < 0.15)
