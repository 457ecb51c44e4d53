"""Multinomial logistic regression on frozen features, and accuracy with few labels per class.

The protocol is that of MSN, Assran et al. 2022, arXiv:2204.07141, section 5.1.
"""

from collections.abc import Sequence
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from maskrep.objectives.losses import l2_normalize
from maskrep.types import Array

_TOLERANCE = 1e-7  # norm of the gradient, relative to that at zero weights
_MAX_ITERATIONS = 500


class TooFewLabels(ValueError):
  """A class has fewer labelled examples than asked for."""


class Classifier(NamedTuple):
  """A linear classifier of C classes."""

  weights: Array  # float32 [D, C]
  bias: Array  # float32 [C]


def _logits(classifier: Classifier, features: Array) -> Array:
  # GPUs and TPUs round the factors of a float32 product unless asked not to, and L-BFGS stalls on that noise.
  return jnp.dot(features, classifier.weights, precision=jax.lax.Precision.HIGHEST) + classifier.bias


@functools.partial(jax.jit, static_argnames='num_classes')
def fit(features: Array, labels: Array, *, num_classes: int, l2: float) -> Classifier:
  """Minimises `sum_i cross_entropy(features_i W + b, labels_i) + l2 / 2 * |W|^2` over W and b, by L-BFGS from zero.

  That is scikit-learn's `LogisticRegression(C=1 / l2)`. An example of label -1 has no say, so problems with different
  numbers of labels can be padded to one shape and solved together under `jax.vmap`.

  Args:
    features: float [M, D].
    labels: int [M], each in 0..C-1 or -1, not all -1.
    num_classes: C.
    l2: penalty, above 0: separable examples have no minimum without it.
  """
  features = features.astype(jnp.float32)
  # A common offset moves the bias and nothing else of the solution, but raw features hardly converge with it.
  offset = features.mean(axis=0)
  features = features - offset
  labelled = labels >= 0

  # Parameters are one array [D + 1, C], and the line search is backtracking, because this compiles in half the time of
  # a pair of arrays and optax's zoom. The objective is convex: sufficient decrease is all that L-BFGS needs.
  def objective(params):
    logits = _logits(Classifier(params[:-1], params[-1]), features)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return (losses.sum(where=labelled) + l2 / 2 * jnp.sum(params[:-1] ** 2)) / labelled.sum()

  # Near the minimum float32 cannot tell the values of two steps apart: without `rtol` none would be accepted.
  line_search = optax.scale_by_backtracking_linesearch(
    max_backtracking_steps=20, decrease_factor=0.5, increase_factor=np.inf, rtol=1e-6, store_grad=True
  )
  solver = optax.lbfgs(linesearch=line_search)

  def unsolved(carry):
    _, state, _, gradient = carry
    return (jnp.linalg.norm(gradient) > tolerance) & (optax.tree.get(state, 'count') < _MAX_ITERATIONS)

  def iterate(carry):
    params, state, value, gradient = carry
    updates, state = solver.update(gradient, state, params, value=value, grad=gradient, value_fn=objective)
    return params + updates, state, optax.tree.get(state, 'value'), optax.tree.get(state, 'grad')

  start = jnp.zeros((features.shape[1] + 1, num_classes))
  value, gradient = jax.value_and_grad(objective)(start)
  tolerance = _TOLERANCE * jnp.linalg.norm(gradient)
  params, *_ = jax.lax.while_loop(unsolved, iterate, (start, solver.init(start), value, gradient))
  weights = params[:-1]
  return Classifier(weights, params[-1] - _logits(Classifier(weights, 0.0), offset))


def predict(classifier: Classifier, features: Array) -> Array:
  """Returns the likeliest class of float [Q, D] features, int32 [Q]; of equals, the lowest."""
  return jnp.argmax(_logits(classifier, features.astype(jnp.float32)), axis=-1)


def draw_examples(labels: np.ndarray, *, num_classes: int, count: int, draws: int, seed: int) -> np.ndarray:
  """Draws `count` examples of every class without replacement, `draws` times, from the labels and the seed alone.

  Args:
    labels: int [M]; -1 where there is none.

  Returns:
    Indices, int [draws, C, count]. The first n of each class are what a smaller `count` n would have drawn.

  Raises:
    TooFewLabels: a class has fewer than `count` examples.
  """
  members = [np.flatnonzero(np.asarray(labels) == c) for c in range(num_classes)]
  for c, member in enumerate(members):
    if len(member) < count:
      raise TooFewLabels(f'class {c} has {len(member)} training examples, not {count}')
  rngs = [np.random.default_rng((seed, draw)) for draw in range(draws)]
  return np.stack([[rng.permutation(member)[:count] for member in members] for rng in rngs])


@functools.partial(jax.jit, static_argnames='num_classes')
def _accuracies(features, labels, test_features, test_labels, *, num_classes, l2):
  """float [draws, M, D], int [counts, M], float [Q, D], int [Q] -> float32 [counts, draws]."""

  # One after another: `jax.vmap` takes twice as long to compile, which is most of the time where examples are few.
  def accuracy(labels, features):
    classifier = fit(features, labels, num_classes=num_classes, l2=l2)
    return jnp.mean(predict(classifier, test_features) == test_labels)

  return jax.lax.map(lambda y: jax.lax.map(lambda x: accuracy(y, x), features), labels)


def low_shot(
  train_features: Array,
  train_labels: np.ndarray,
  test_features: Array,
  test_labels: np.ndarray,
  *,
  num_classes: int,
  labels_per_class: Sequence[int],
  draws: int = 3,
  seed: int = 0,
  l2: float = 0.1,
) -> np.ndarray:
  """Accuracy of logistic regression on a few labelled examples of each class, for several random draws of them.

  Features are centred on the mean of the whole training split, which needs no labels, then scaled to unit length:
  one rule under which neither the offset nor the scale of a representation weighs against the penalty, so pixels and
  any encoder can be compared.

  Args:
    train_features: float [M, D].
    train_labels: int [M]; -1 where there is none. Draws depend on these and `seed`, never on the features.
    test_features: float [Q, D].
    test_labels: int [Q].
    num_classes: C.
    labels_per_class: numbers of labels; smaller ones see a subset of what larger ones see.
    draws: how many times labels are drawn.
    seed: of the draws.
    l2: the penalty of `fit`.

  Returns:
    float32 [len(labels_per_class), draws].

  Raises:
    TooFewLabels: a class has fewer training examples than asked for.
  """
  count = max(labels_per_class)
  drawn = draw_examples(train_labels, num_classes=num_classes, count=count, draws=draws, seed=seed)
  # Compiling takes longer than solving. So fewer labels are more labels some of which are hidden: one shape for all.
  hidden = np.arange(count) >= np.reshape(labels_per_class, (-1, 1, 1))
  labels = np.where(hidden, -1, np.arange(num_classes)[:, None])

  train_features, test_features = jnp.asarray(train_features, jnp.float32), jnp.asarray(test_features, jnp.float32)
  mean = train_features.mean(axis=0)
  accuracies = _accuracies(
    l2_normalize(train_features[drawn.reshape(draws, -1)] - mean),
    labels.reshape(len(labels), -1),
    l2_normalize(test_features - mean),
    jnp.asarray(test_labels),
    num_classes=num_classes,
    l2=l2,
  )
  return np.asarray(accuracies)
