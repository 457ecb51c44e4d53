"""Loss terms shared by the papers, in float32 and in log space: no log(softmax), no log(0)."""

import jax
import jax.numpy as jnp

from maskrep.types import Array


def l2_normalize(x: Array, epsilon: float = 1e-12) -> Array:
  """x / max(|x|, epsilon) over the last axis, in float32; the gradient at 0 is finite."""
  x = x.astype(jnp.float32)
  return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), epsilon**2))


def log_assignments(embeddings: Array, prototypes: Array, temperature: float) -> Array:
  """Log-probabilities over prototypes, by cosine similarity (MSN, section 3): [..., D], [P, D] -> float32 [..., P].

  The paper's sharpening is a lower temperature: softmax(s / t)^(1/T) normalised is softmax(s / (t * T)).
  """
  # HIGHEST: TF32 or bfloat16 products, divided by a temperature of 0.025, would be wrong in the first decimal place.
  similarity = jnp.matmul(l2_normalize(embeddings), l2_normalize(prototypes).T, precision=jax.lax.Precision.HIGHEST)
  return jax.nn.log_softmax(similarity / temperature, axis=-1)


def log_sinkhorn(log_q: Array, iterations: int) -> Array:
  """Balances assignments over the global batch (Sinkhorn-Knopp; Caron et al. 2020, section 3.1): [B, P] -> [B, P].

  Each iteration scales each prototype to mass B/P, then each example to mass 1: rows end as distributions.
  """
  for _ in range(iterations):
    log_q = log_q - jax.nn.logsumexp(log_q, axis=0, keepdims=True)
    log_q = log_q - jax.nn.logsumexp(log_q, axis=1, keepdims=True)
  return log_q


def entropy(log_p: Array) -> Array:
  """-sum p log p over the last axis, in nats: log-probabilities [..., P] -> [...]."""
  return -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)


def cross_entropy(log_q: Array, log_p: Array) -> Array:
  """-sum q log p over the last axis, in nats: targets and predictions [..., P] -> [...]."""
  return -jnp.sum(jnp.exp(log_q) * log_p, axis=-1)


def log_mean(log_p: Array) -> Array:
  """The log of the mean distribution: [M, P] -> [P]."""
  return jax.nn.logsumexp(log_p, axis=0) - jnp.log(log_p.shape[0])


def feature_std(features: Array) -> Array:
  """Spread of directions: the mean over dimensions of the std of L2-normalised features, times sqrt(D).

  [M, D] -> scalar: 1 if features are spread evenly over the sphere, 0 if all are the same.
  """
  return jnp.mean(jnp.std(l2_normalize(features), axis=0)) * jnp.sqrt(features.shape[-1])


def prototypes_in_use(log_p: Array) -> Array:
  """Number of prototypes that are the most probable one for some example: [M, P] -> float32 scalar."""
  chosen = jnp.zeros(log_p.shape[-1]).at[jnp.argmax(log_p, axis=-1)].set(1.0)
  return jnp.sum(chosen)


def cosine(x: Array, y: Array) -> Array:
  """Cosine similarity over the last axis: [..., E], [..., E] -> float32 [...]."""
  return jnp.sum(l2_normalize(x) * l2_normalize(y), axis=-1)


def cosine_distance(x: Array, y: Array) -> Array:
  """|x / |x| - y / |y||^2 = 2 - 2 cos (BYOL, Grill et al. 2020, equation 2): [..., E], [..., E] -> float32 [...]."""
  return 2 - 2 * cosine(x, y)


def sigmoid_cross_entropy(logits: Array, targets: Array) -> Array:
  """Binary cross-entropy per class, summed over classes (Beyer et al. 2020, arXiv:2006.07159): [..., C] -> [...]."""
  return -jnp.sum(targets * jax.nn.log_sigmoid(logits) + (1 - targets) * jax.nn.log_sigmoid(-logits), axis=-1)


def softmax_cross_entropy(logits: Array, targets: Array) -> Array:
  """-sum t log softmax(logits) over classes, in nats: [..., C], targets [..., C] that sum to 1 -> float32 [...]."""
  return -jnp.sum(targets * jax.nn.log_softmax(logits.astype(jnp.float32)), axis=-1)


def info_nce(queries: Array, keys: Array, temperature: float) -> Array:
  """-log of the probability of an example's own key among the keys of the global batch (van den Oord et al. 2018).

  [B, ..., E] queries, [B, E] keys -> float32 [B, ...].
  """
  log_p = log_assignments(queries, keys, temperature)
  own = jnp.arange(len(keys)).reshape(-1, *(1,) * (queries.ndim - 1))
  return -jnp.take_along_axis(log_p, own, axis=-1)[..., 0]


def nt_xent(x: Array, y: Array, temperature: float) -> Array:
  """-log of the probability of a view's partner among all other views of the batch (SimCLR, arXiv:2002.05709, eq. 1).

  Two views of each example, [B, E] and [B, E] -> float32 [2, B]; a view has 2B - 1 others.
  """
  z = l2_normalize(jnp.concatenate([x, y]))
  similarity = jnp.matmul(z, z.T, precision=jax.lax.Precision.HIGHEST) / temperature
  log_p = jax.nn.log_softmax(jnp.where(jnp.eye(len(z), dtype=bool), -jnp.inf, similarity), axis=-1)
  partner = jnp.roll(jnp.arange(len(z)), len(x))
  return -jnp.take_along_axis(log_p, partner[:, None], axis=-1).reshape(2, -1)
