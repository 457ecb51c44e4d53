"""Weighted k-nearest-neighbour classification of features, Wu et al. 2018, arXiv:1805.01978, section 3.4."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from maskrep.methods.losses import l2_normalize
from maskrep.types import AnyArray, Array

_CHUNK_ELEMENTS = 2**26  # similarities in memory at once: 256 MiB


@functools.partial(jax.jit, static_argnames='k')
def knn_predict(
  train_features: Array, train_labels: Array, queries: Array, *, k: int = 20, temperature: float = 0.07
) -> tuple[Array, Array]:
  """Classifies by a vote of the k training examples of highest cosine similarity s, with weights exp(s / temperature).

  Ties between examples go to the first in the training split; ties between classes to the class of the nearest
  example.

  Args:
    train_features: float [M, D].
    train_labels: int [M].
    queries: float [Q, D].
    k: number of neighbours.
    temperature: above 0.

  Returns:
    Two labels per query, int [Q]: that of the vote, and that of the nearest example.

  Raises:
    ValueError: k is not in 1..M.
  """
  size = len(train_features)
  if not 1 <= k <= size:
    raise ValueError(f'k={k}: must be in 1 ... {size}, the number of training examples')
  lengths = _lengths(train_features)

  def vote(query):
    similarities = _similarities(query, train_features, lengths)
    nearest, indices = jax.lax.top_k(similarities, k)
    labels = train_labels[indices]
    # Relative to the nearest, so that no temperature overflows. Not `nearest[0]`: if its result is sliced, XLA on CPU
    # turns top_k into a full sort, 70 times slower.
    weights = jnp.exp((nearest - nearest.max()) / temperature)
    votes = jnp.where(labels[:, None] == labels, weights, 0).sum(axis=-1)
    return labels[jnp.argmax(votes)], labels[jnp.argmax(nearest)]

  chunk = max(1, _CHUNK_ELEMENTS // max(size, k * k))
  return jax.lax.map(vote, queries, batch_size=min(chunk, len(queries)))


def _lengths(features: Array) -> Array:
  """float [M, D] -> float32 [M]; not 0."""
  return jnp.maximum(jnp.linalg.norm(features.astype(jnp.float32), axis=-1), 1e-12)


def _similarities(query: Array, features: Array, lengths: Array) -> Array:
  """Cosine similarities of a query, float [D], and features, float [M, D], of these lengths; copies no features."""
  # In full float32: rounded factors, the default of GPUs and TPUs, swap neighbours.
  return jnp.dot(l2_normalize(query), features.T, precision=jax.lax.Precision.HIGHEST) / lengths


def knn_accuracy(
  train_features: AnyArray,
  train_labels: AnyArray,
  test_features: AnyArray,
  test_labels: AnyArray,
  *,
  k: int = 20,
  temperature: float = 0.07,
) -> tuple[float, float]:
  """Returns two accuracies of `knn_predict` on test examples, int labels [Q]: of the vote, and Recall@1."""
  voted, nearest = knn_predict(train_features, train_labels, test_features, k=k, temperature=temperature)
  return float(jnp.mean(voted == test_labels)), float(jnp.mean(nearest == test_labels))


def recall_at_1(features: AnyArray, labels: AnyArray, queries: tuple[AnyArray, AnyArray] | None = None) -> float:
  """Returns the share of queries whose nearest example in the index, by cosine similarity, has the same class.

  Ties go to the first example. A query without an example of its class in the index is a miss.

  Args:
    features: features of the index, float [M, D].
    labels: labels of the index, int [M].
    queries: features [Q, D] and labels [Q]; if None, each example of the index queries all others.

  Raises:
    ValueError: the index is empty, or has no other example.
  """
  size = len(features)
  if size < 1 + (queries is None):
    raise ValueError(f'an index of {size} images: there is nothing to find')
  # No example of the index has the place -1.
  places = np.arange(size) if queries is None else np.full(len(queries[0]), -1)
  query_features, query_labels = (features, labels) if queries is None else queries
  found = np.asarray(nearest_other(features, query_features, places))
  return float(np.mean(np.asarray(labels)[found] == np.asarray(query_labels)))


@jax.jit
def nearest_other(features: Array, queries: Array, places: Array) -> Array:
  """The nearest example of an index to each query, by cosine similarity, other than itself; ties go to the first.

  Args:
    features: features of the index, float [M, D].
    queries: float [Q, D].
    places: int [Q], each query's own place in the index, or -1.

  Returns:
    int32 [Q], places in the index.
  """
  lengths = _lengths(features)

  def nearest(query):
    vector, place = query
    similarities = _similarities(vector, features, lengths)
    return jnp.argmax(jnp.where(jnp.arange(len(features)) == place, -jnp.inf, similarities))

  chunk = max(1, _CHUNK_ELEMENTS // len(features))
  return jax.lax.map(nearest, (queries, places), batch_size=min(chunk, len(queries)))
