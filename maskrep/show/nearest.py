"""The nearest images of queries, and the images nearest to each prototype."""

import numpy as np


def nearest(queries: np.ndarray, bank: np.ndarray, k: int, own: np.ndarray | None = None
            ) -> tuple[np.ndarray, np.ndarray]:
  """The k examples of highest cosine similarity.

  Args:
    queries: float [Q, D].
    bank: float [M, D].
    k: at most M, or M - 1 with `own`.
    own: int [Q], the place of each query in the bank, which is left out; -1 if it is not there.

  Returns:
    Their places in the bank, int [Q, k], the nearest first; and the similarities, float [Q, k].
  """
  similarity = _unit(queries) @ _unit(bank).T
  if own is not None:
    there = np.flatnonzero(own >= 0)
    similarity[there, own[there]] = -np.inf
  places = np.argsort(-similarity, axis=1, kind='stable')[:, :k]
  return places, np.take_along_axis(similarity, places, axis=1)


def use(assignments: np.ndarray) -> np.ndarray:
  """The share of images for which each prototype is the likeliest: float [M, P] -> [P], of sum 1."""
  return np.bincount(assignments.argmax(axis=1), minlength=assignments.shape[1]) / len(assignments)


def perplexity(shares: np.ndarray) -> float:
  """The number of evenly used prototypes of the same entropy, from 1 to P: float [P] of sum 1."""
  used = shares[shares > 0]
  return float(np.exp(-np.sum(used * np.log(used))))


def _unit(x: np.ndarray) -> np.ndarray:
  return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
