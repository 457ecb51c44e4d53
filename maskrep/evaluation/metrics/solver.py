"""Minimises the loss of multinomial logistic regression."""

from collections.abc import Callable
import functools
from typing import cast

import jax
import jax.numpy as jnp
import optax

from maskrep.types import Array

_TOLERANCE = 3e-7  # norm of the gradient relative to that at zero weights; the limit of float32
_MAX_ITERATIONS = 500

# GPUs and TPUs round the factors of a float32 product by default, and L-BFGS stalls on that noise.
dot = functools.partial(jnp.dot, precision=jax.lax.Precision.HIGHEST)


def in_their_span(features: Array) -> tuple[Array, Array | None]:
  """Coordinates of M features in the space they span, if it has fewer than D dimensions.

  The weights at the minimum lie in that space because of the penalty, and a rotation changes neither loss nor penalty.

  Args:
    features: float [M, D].

  Returns:
    Coordinates, float32 [M, min(M, D)], and the orthonormal directions of that space, [D, M]; None if M >= D, when the
    coordinates are the features.
  """
  features = features.astype(jnp.float32)
  if len(features) >= features.shape[1]:
    return features, None
  directions, coordinates = jnp.linalg.qr(features.T)
  return coordinates.T, directions


def solve(
  features: Array, labels: Array, *, num_classes: int, l2: float, intercept: bool
) -> tuple[Array, Array]:
  """`logistic.fit` of centred features, in matrices of [D, D]: weights [D, C], and bias [C], 0 without intercept."""
  labelled = (labels >= 0).astype(jnp.float32)[:, None]
  # A constant feature for the bias; of 0, its weight stays 0.
  x = labelled * jnp.pad(features, ((0, 0), (0, 1)), constant_values=float(intercept))
  target = jax.nn.one_hot(labels, num_classes)
  penalty = jnp.full((x.shape[1], 1), l2).at[-1].set(0 if intercept else l2)

  basis, solver = _basis(x, penalty[:, 0], num_classes), optax.scale_by_lbfgs(scale_init_precond=False)

  def gradient(coordinates, logits):
    residual = labelled * jax.nn.softmax(logits) - target
    return dot(basis.T, dot(x.T, residual) + penalty * dot(basis, coordinates))

  def iterate(carry):
    coordinates, logits, gradients, state, count = carry
    downhill, state = solver.update(gradients, state, coordinates)
    step = -cast(Array, downhill)  # optax declares any tree
    change = dot(basis, step)
    # Logits are linear in the step: the line search needs no matrix products.
    ahead = dot(x, change)
    linear, square = jnp.vdot(penalty * dot(basis, coordinates), change), jnp.vdot(penalty * change, change)

    def slope(t):
      p = labelled * jax.nn.softmax(logits + t * ahead)
      mean = jnp.sum(p * ahead, axis=1)
      return (jnp.sum((p - target) * ahead) + linear + t * square,
              jnp.sum(p * ahead**2) - jnp.sum(mean**2) + square)

    t = _line_search(slope, jnp.vdot(gradients, step))
    coordinates, logits = coordinates + t * step, logits + t * ahead
    return coordinates, logits, gradient(coordinates, logits), state, count + 1

  def unsolved(carry):
    _, _, gradients, _, count = carry
    return (jnp.linalg.norm(gradients) > tolerance) & (count < _MAX_ITERATIONS)

  # The barrier keeps XLA from evaluating the softmax of a constant while compiling, which takes longer than solving.
  zeros = jnp.zeros((x.shape[1], num_classes)), jnp.zeros(target.shape)
  coordinates, logits = jax.lax.optimization_barrier(zeros)
  gradients = gradient(coordinates, logits)
  # With uninformative features the first gradient is round-off; sqrt(labels) is its size for residuals of 1.
  tolerance = _TOLERANCE * jnp.maximum(jnp.linalg.norm(gradients), jnp.sqrt(labelled.sum()))
  coordinates, *_ = jax.lax.while_loop(
    unsolved, iterate, (coordinates, logits, gradients, solver.init(coordinates), 0))
  weights = dot(basis, coordinates)
  return weights[:-1], weights[-1]


def _basis(x: Array, penalty: Array, num_classes: int) -> Array:
  """Returns coordinates [D, D] in which the Hessian of one class at zero weights is the identity.

  In them, L-BFGS needs a third of the steps.
  """
  hessian = dot(x.T, x) * (num_classes - 1) / num_classes**2
  hessian += jnp.diag(penalty + 1e-6 * jnp.trace(hessian) / len(hessian))
  return jax.scipy.linalg.solve_triangular(jnp.linalg.cholesky(hessian), jnp.eye(len(hessian)), lower=True).T


def _line_search(slope: Callable[[Array | float], tuple[Array, Array]], start: Array) -> Array:
  """Returns a step along a line, on which the objective is convex, to a slope that is small relative to `start`, at 0.

  Newton's method between bounds; `slope(t)` returns the first and the second derivative.
  """

  def nearer(carry):
    t, low, high, (first, second), count = carry
    low, high = jnp.where(first < 0, t, low), jnp.where(first < 0, high, t)
    newton = t - first / second
    safe = jnp.where(jnp.isinf(high), 2 * t, (low + high) / 2)
    t = jnp.where((newton > low) & (newton < jnp.minimum(high, 10 * t)), newton, safe)
    return t, low, high, slope(t), count + 1

  def far(carry):
    *_, (first, _), count = carry
    return (jnp.abs(first) > 0.3 * jnp.abs(start)) & (count < 20)

  # jax declares the types of the first carry, whose floats become arrays.
  return cast(Array, jax.lax.while_loop(far, nearer, (1.0, 0.0, jnp.inf, slope(1.0), 0))[0])
