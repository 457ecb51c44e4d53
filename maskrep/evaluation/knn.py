"""Weighted k-nearest-neighbour classification of features, Wu et al. 2018, arXiv:1805.01978, section 3.4."""

import functools

import jax
import jax.numpy as jnp

from maskrep.objectives.losses import l2_normalize
from maskrep.types import Array

_CHUNK_ELEMENTS = 2**26  # similarities held at once: 256 MiB


@functools.partial(jax.jit, static_argnames='k')
def knn_predict(
  train_features: Array, train_labels: Array, queries: Array, *, k: int = 20, temperature: float = 0.07
) -> tuple[Array, Array]:
  """Lets the k training examples of highest cosine similarity s vote for their class with weight exp(s / temperature).

  Of equally similar examples the first in the training split is taken; of classes with equal votes, the one whose
  nearest example is nearer.

  Args:
    train_features: float [M, D].
    train_labels: int [M].
    queries: float [Q, D].
    k: number of neighbours.
    temperature: above 0.

  Returns:
    Two labels for each, int [Q]: that of the vote, and that of the nearest example.

  Raises:
    ValueError: k is not in 1..M.
  """
  size = len(train_features)
  if not 1 <= k <= size:
    raise ValueError(f'k={k} neighbours asked for, but the training split has {size} examples')
  train_features = l2_normalize(train_features)

  def vote(query):
    # In full float32: rounded factors, the default of GPUs and TPUs, swap neighbours.
    similarities = jnp.dot(query, train_features.T, precision=jax.lax.Precision.HIGHEST)
    nearest, indices = jax.lax.top_k(similarities, k)
    labels = train_labels[indices]
    # Relative to the nearest, so that no temperature overflows. Not `nearest[0]`: for a slice of its result XLA on CPU
    # turns top_k into a full sort, 70 times slower.
    weights = jnp.exp((nearest - nearest.max()) / temperature)
    votes = jnp.where(labels[:, None] == labels, weights, 0).sum(axis=-1)
    return labels[jnp.argmax(votes)], labels[jnp.argmax(nearest)]

  chunk = max(1, _CHUNK_ELEMENTS // max(size, k * k))
  return jax.lax.map(vote, l2_normalize(queries), batch_size=min(chunk, len(queries)))


def knn_accuracy(
  train_features: Array,
  train_labels: Array,
  test_features: Array,
  test_labels: Array,
  *,
  k: int = 20,
  temperature: float = 0.07,
) -> tuple[float, float]:
  """The shares of test examples, int labels [Q], that `knn_predict` labels rightly: by the vote, and Recall@1."""
  voted, nearest = knn_predict(train_features, train_labels, test_features, k=k, temperature=temperature)
  return float(jnp.mean(voted == test_labels)), float(jnp.mean(nearest == test_labels))
