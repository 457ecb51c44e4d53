"""Multinomial logistic regression on frozen features, and accuracy with few labels per class.

The protocol is that of MSN, Assran et al. 2022, arXiv:2204.07141, section 5.1.
"""

from collections.abc import Sequence
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from maskrep.devices.mesh import batch_sharding, make_mesh
from maskrep.evaluation.metrics.solver import dot, in_their_span, solve
from maskrep.methods.losses import l2_normalize
from maskrep.types import AnyArray, Array


class TooFewLabels(ValueError):
  """A class has fewer labelled examples than requested."""


class LogisticRegression(NamedTuple):
  """A fitted linear classifier of C classes."""

  weights: Array  # float32 [D, C]
  bias: Array  # float32 [C]


@functools.partial(jax.jit, static_argnames=('num_classes', 'intercept'))
def fit(
  features: Array, labels: Array, *, num_classes: int, l2: float, intercept: bool = True
) -> LogisticRegression:
  """Minimises `sum_i cross_entropy(features_i W + b, labels_i) + l2 / 2 * |W|^2` over W and b, by L-BFGS from zero.

  This equals scikit-learn's `LogisticRegression(C=1 / l2)`, and cyanure's multinomial loss with lambda l2 / M. Examples
  with label -1 are ignored, so that problems with different numbers of labels can be padded to one shape, and M to a
  multiple of the devices over which features and labels are sharded. Besides the features it needs memory for matrices
  with min(M, D) rows and columns.

  Args:
    features: float [M, D].
    labels: int [M], each in 0..C-1 or -1, not all -1.
    num_classes: C.
    l2: penalty, above 0: separable examples have no minimum without it. Near 0 float32 needs more than the limit of
      500 iterations: on digits, 1e-3 ends within 1e-3 of the minimum's weights, 1e-4 not within 0.1.
    intercept: whether there is a bias b; without it, b is 0.
  """
  # A common offset of the features changes only the bias of the solution, but prevents convergence.
  offset = features.astype(jnp.float32).mean(axis=0) * intercept
  rows, directions = in_their_span(features - offset)
  weights, bias = solve(rows, labels, num_classes=num_classes, l2=l2, intercept=intercept)
  weights = weights if directions is None else dot(directions, weights)
  return LogisticRegression(weights, bias - dot(offset, weights))


def predict(classifier: LogisticRegression, features: Array) -> Array:
  """Returns the most probable class of features, float [Q, D] -> int32 [Q]; the lowest of ties."""
  return jnp.argmax(dot(features.astype(jnp.float32), classifier.weights) + classifier.bias, axis=-1)


def centre_and_normalise(mean: AnyArray | None, *features: AnyArray) -> list[Array]:
  """Centres features, float [M, D], on the mean [D] of all training features, and scales each to length 1.

  Without a `mean`, each is centred on its own mean over the D channels, as in the MSN authors' evaluation.
  Thus neither offset nor scale of a representation interacts with the penalty, and pixels and any encoder can be
  compared.
  """
  return [_centre_and_normalise(jnp.asarray(each, jnp.float32), mean) for each in features]


@jax.jit  # as one operation, without a copy of the features per step
def _centre_and_normalise(features: Array, mean: Array | None) -> Array:
  mean = features.mean(axis=-1, keepdims=True) if mean is None else mean
  return l2_normalize(features - mean)


def shard_examples(features: Array, labels: np.ndarray) -> tuple[Array, Array]:
  """Shards features [M, D] and labels [M], padded with -1, over the local devices, for `fit`.

  With several processes, each solves the same problem.
  """
  mesh = make_mesh(devices=jax.local_devices())
  padding = -len(labels) % mesh.size
  rows = np.pad(np.asarray(features), ((0, padding), (0, 0)))
  return jax.device_put((rows, np.pad(labels, (0, padding), constant_values=-1)), batch_sharding(mesh))


@functools.partial(jax.jit, static_argnames=('num_classes', 'intercept'))
def _score(features, train_labels, test_labels, *, num_classes, l2, intercept):
  """Fits to the examples with train_labels, int [M], and returns the accuracy on those with test_labels; -1 is none."""
  classifier = fit(features, train_labels, num_classes=num_classes, l2=l2, intercept=intercept)
  return jnp.sum(predict(classifier, features) == test_labels) / jnp.sum(test_labels >= 0)


def cross_validated(
  features: Array, labels: AnyArray, *, num_classes: int, l2s: Sequence[float], folds: int, seed: int,
  intercept: bool = True,
) -> float:
  """Returns the penalty of `l2s` with the best mean accuracy on held-out examples; the largest of ties.

  Args:
    features: float [M, D], may be sharded over devices.
    labels: int [M]; -1 if there is none.
    folds: number of parts into which each class is divided at random, by `seed`; each part is held out once.
  """
  features = jax.jit(lambda x: in_their_span(x)[0])(features)  # once, for all penalties and folds
  labels, rng = np.asarray(labels), np.random.default_rng(seed)
  fold = np.full(len(labels), -1)
  for c in np.unique(labels[labels >= 0]):
    members = rng.permutation(np.flatnonzero(labels == c))
    # If a class has fewer examples than there are folds, the folds without it are random.
    fold[members] = (np.arange(len(members)) + rng.integers(folds)) % folds

  def score(l2):
    return np.mean([
      _score(features, np.where(fold == f, -1, labels), np.where(fold == f, labels, -1), num_classes=num_classes, l2=l2,
             intercept=intercept) for f in range(folds) if np.any(fold == f)])

  return max(sorted(l2s, reverse=True), key=score)


def draw_examples(labels: np.ndarray, *, num_classes: int, count: int, draws: int, seed: int) -> np.ndarray:
  """Draws `count` examples per class without replacement, `draws` times; depends on the labels and the seed alone.

  Args:
    labels: int [M]; -1 if there is none.

  Returns:
    Indices, int [draws, C, count]. For n < `count`, the first n of each class are those drawn with a count of n.

  Raises:
    TooFewLabels: a class has fewer than `count` examples.
  """
  members = [np.flatnonzero(np.asarray(labels) == c) for c in range(num_classes)]
  for c, member in enumerate(members):
    if len(member) < count:
      raise TooFewLabels(f'class {c} has {len(member)} training examples, not {count}')
  rngs = [np.random.default_rng((seed, draw)) for draw in range(draws)]
  return np.stack([[rng.permutation(member)[:count] for member in members] for rng in rngs])


def draw_share(labels: np.ndarray, *, share: float, draws: int, seed: int) -> list[np.ndarray]:
  """Draws a share of the examples of every class, rounded, but at least one, `draws` times: int [M'] each."""
  members = [np.flatnonzero(labels == c) for c in np.unique(labels[labels >= 0])]
  rngs = [np.random.default_rng((seed, draw)) for draw in range(draws)]
  return [np.concatenate([rng.permutation(member)[:max(1, round(share * len(member)))] for member in members])
          for rng in rngs]


@functools.partial(jax.jit, static_argnames=('num_classes', 'intercept'))
def _accuracies(features, labels, test_features, test_labels, *, num_classes, l2, intercept):
  """float [draws, M, D], int [counts, M], float [Q, D], int [Q] -> float32 [draws, counts]."""

  # Sequentially: `jax.vmap` takes twice as long to compile, which is most of the time if there are few examples.
  def of_draw(features):
    rows, directions = in_their_span(features)
    queries = test_features if directions is None else dot(test_features, directions)

    def accuracy(labels):
      classifier = fit(rows, labels, num_classes=num_classes, l2=l2, intercept=intercept)
      return jnp.mean(predict(classifier, queries) == test_labels)

    return jax.lax.map(accuracy, labels)

  return jax.lax.map(of_draw, features)


def low_shot(
  train_features: AnyArray,
  train_labels: np.ndarray,
  test_features: AnyArray,
  test_labels: np.ndarray,
  *,
  num_classes: int,
  labels_per_class: Sequence[int],
  draws: int = 3,
  seed: int = 0,
  l2: float = 0.1,
  centre: str = 'data',
  intercept: bool = True,
) -> np.ndarray:
  """Accuracy of logistic regression on a few labelled examples per class, for several random draws.

  Features are centred, by default on the mean of the whole training split, and scaled to length 1.

  Args:
    train_features: float [M, D].
    train_labels: int [M]; -1 if there is none. The draws depend on these and `seed`, not on the features.
    test_features: float [Q, D].
    test_labels: int [Q].
    num_classes: C.
    labels_per_class: numbers of labels; the examples of a smaller number are a subset of those of a larger one.
    draws: number of draws.
    seed: seed of the draws.
    l2, intercept: see `fit`.
    centre: 'data', or 'channels' for the mean over the channels of each example.

  Returns:
    float32 [len(labels_per_class), draws].

  Raises:
    TooFewLabels: a class has fewer training examples than requested.
  """
  count = max(labels_per_class)
  drawn = draw_examples(train_labels, num_classes=num_classes, count=count, draws=draws, seed=seed)
  # Compiling takes longer than solving: all subsets have one shape, in which smaller ones are padded with label -1.
  hidden = np.arange(count) >= np.reshape(labels_per_class, (-1, 1, 1))
  labels = np.where(hidden, -1, np.arange(num_classes)[:, None])

  mean = None
  if centre == 'data':  # jnp.mean would copy the features
    mean = np.asarray(np.mean(train_features, axis=0, dtype=np.float64), np.float32)
  examples, test_features = centre_and_normalise(mean, train_features[drawn.reshape(draws, -1)], test_features)
  accuracies = _accuracies(
    examples,
    labels.reshape(len(labels), -1),
    test_features,
    jnp.asarray(test_labels),
    num_classes=num_classes,
    l2=l2,
    intercept=intercept,
  )
  return np.asarray(accuracies).T
