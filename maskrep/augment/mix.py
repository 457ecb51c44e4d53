"""Mixup, Zhang et al. 2018, arXiv:1710.09412, and CutMix, Yun et al. 2019, arXiv:1905.04899, and their soft labels."""

import jax
import jax.numpy as jnp

from maskrep.augment import crop
from maskrep.types import Array


def mix(
  keys: Array, images: Array, targets: Array, *, mixup_alpha: float, cutmix_alpha: float
) -> tuple[Array, Array]:
  """Mixes each example with the previous one, and the first with the last; each draws its own share.

  As batches are shuffled, a neighbour is as good as a random partner. Devices, which hold contiguous blocks, exchange
  only one example each; with a reversed batch as partners they would exchange all of it.

  Args:
    keys: [B], one per example.
    images: float32 [B, H, W, 3].
    targets: float32 [B, C], soft labels.
    mixup_alpha: mixup's share is drawn from Beta(alpha, alpha); 0 turns mixup off.
    cutmix_alpha: the same for CutMix. If both are on, each example draws one of them with equal probability.

  Returns:
    Images and targets, of the same shapes. A target's share equals its image's: for CutMix, the share of its pixels.
  """
  if mixup_alpha < 0 or cutmix_alpha < 0:
    raise ValueError(f'mixup_alpha {mixup_alpha} and cutmix_alpha {cutmix_alpha} must not be negative')
  if mixup_alpha == 0 and cutmix_alpha == 0:
    return images, targets

  height, width = images.shape[1:3]

  def draw(key):
    """The share that each pixel keeps of its own image, float32 [H, W], and the mean of these shares."""
    choice_key, mixup_key, cutmix_key = jax.random.split(key, 3)
    if cutmix_alpha == 0:
      return _mixup(mixup_key, height, width, mixup_alpha)
    if mixup_alpha == 0:
      return _cutmix(cutmix_key, height, width, cutmix_alpha)
    first = jax.random.bernoulli(choice_key)
    both = zip(_mixup(mixup_key, height, width, mixup_alpha), _cutmix(cutmix_key, height, width, cutmix_alpha),
               strict=True)
    return tuple(jnp.where(first, a, b) for a, b in both)

  kept, share = jax.vmap(draw)(keys)
  return _mix_with_previous(images, kept[..., None]), _mix_with_previous(targets, share[:, None])


def smooth_labels(labels: Array, classes: int, smoothing: float) -> Array:
  """One-hot labels, mixed with a share `smoothing` of the uniform distribution: int32 [B] -> float32 [B, C].

  That is `1 - smoothing + smoothing / classes` at the label and `smoothing / classes` elsewhere. Rows sum to 1.
  timm has the same values for softmax and sigmoid cross-entropy.
  """
  return (1 - smoothing) * jax.nn.one_hot(labels, classes) + smoothing / classes


def symmetric_beta(key: Array, alpha: float) -> Array:
  """Draws from Beta(alpha, alpha), float32: Bailey's polar method for Student's t, 1994, transformed to [0, 1].

  With t of 2 alpha degrees of freedom, (1 + t / sqrt(2 alpha + t^2)) / 2 has this distribution. `jax.random.beta`
  samples by rejection, in a loop until the full batch is done: under jit all devices would synchronise per round.
  """
  radius, angle = jax.random.uniform(key, (2,), minval=jnp.finfo(jnp.float32).tiny)
  power, cosine = radius ** (1 / alpha), jnp.cos(2 * jnp.pi * angle)
  # Rounding may leave [0, 1].
  return jnp.clip(0.5 + 0.5 * cosine * jnp.sqrt((1 - power) / (power + (1 - power) * cosine**2)), 0, 1)


def _mix_with_previous(batch: Array, share: Array) -> Array:
  return share * batch + (1 - share) * jnp.roll(batch, 1, axis=0)


def _mixup(key: Array, height: int, width: int, alpha: float) -> tuple[Array, Array]:
  """Draws one share for all pixels: float32 [H, W] and float32 scalar."""
  share = symmetric_beta(key, alpha)
  return jnp.full((height, width), share), share


def _cutmix(key: Array, height: int, width: int, alpha: float) -> tuple[Array, Array]:
  """Draws 0 in a box with a uniform centre, clipped at the border, and 1 elsewhere: float32 [H, W], and their mean."""
  beta_key, centre_key = jax.random.split(key)
  size = jnp.array([height, width])
  half = jnp.floor(size * jnp.sqrt(1 - symmetric_beta(beta_key, alpha))) // 2
  centre = jnp.floor(size * jax.random.uniform(centre_key, (2,)))
  low, high = jnp.clip(centre - half, 0, size), jnp.clip(centre + half, 0, size)
  box = jnp.concatenate([low, high - low])
  share = 1 - jnp.prod(high - low) / (height * width)
  return jnp.where(crop.inside(box, height, width), 0.0, 1.0), share
