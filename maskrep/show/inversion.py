"""Inversion of the representations of visible patches by a deep image prior.

ExtreMA, Wu et al. 2022, arXiv:2206.04667, appendix C, equation 1: a network from fixed noise to an image is optimised
until the encoder, which sees all of that image, represents the visible patches as it represents them in the masked one.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from maskrep import rng
from maskrep.errors import NonFiniteError
from maskrep.models.hourglass import NOISE, HourGlass, levels
from maskrep.types import Array

LEARNING_RATE, STEPS = 1e-3, 3000  # the paper's
NOISE_SCALE = 0.1  # of Ulyanov et al.: uniform in [0, 0.1)
CHUNK = 20  # steps between two looks at the loss
PATIENCE, LEAST_FALL = 300, 0.01  # steps, and the share by which the loss of any image must fall in them


class Inverted(NamedTuple):
  """The inversions of P masked images.

  Attributes:
    first, last: float32 [P, H, W, 3] in [0, 1]: the images before the first step and after the last.
    losses: float32 [steps, P].
  """

  first: np.ndarray
  last: np.ndarray
  losses: np.ndarray


def loss(found: Array, wanted: Array, visible: Array) -> Array:
  """Mean squared distance of the visible patches: [P, N, D], [P, N, D] and bool [P, N] -> [P]."""
  distances = jnp.where(visible, jnp.mean((found - wanted)**2, axis=-1), 0)
  return distances.sum(axis=1) / visible.sum(axis=1)


def invert(
  encode: Callable[[Array], Array], wanted: Array, visible: Array, side: int, *, steps: int, seed: int
) -> Inverted:
  """Inverts P masked images at once, each by a network of its own; with a progress bar on standard error.

  Stops early if no loss fell by LEAST_FALL in PATIENCE steps.

  Args:
    encode: images [P, side, side, 3] in [0, 1] -> representations of their patches [P, N, D].
    wanted: float32 [P, N, D], the representations of the visible patches of the masked images.
    visible: bool [P, N], at least one per image.
    side: height and width in pixels.
    steps: the most steps.
    seed: of noise and networks.

  Raises:
    NonFiniteError: a loss is not finite.
  """
  network, optimizer = HourGlass(levels(side)), optax.adam(LEARNING_RATE)
  keys = jax.random.split(rng.stream(seed, 'inversion'), len(wanted))
  noise = jax.vmap(lambda key: jax.random.uniform(key, (side, side, NOISE), maxval=NOISE_SCALE))(keys)
  params = jax.vmap(network.init)(keys, noise)
  draw = jax.vmap(network.apply)

  def total(params):
    each = loss(encode(jnp.asarray(draw(params, noise))), wanted, visible)
    return each.sum(), each  # the networks share no parameter, so each has the gradient of its own loss

  def step(state, _):
    params, moments = state
    (_, losses), gradient = jax.value_and_grad(total, has_aux=True)(params)
    updates, moments = optimizer.update(gradient, moments)
    return (optax.apply_updates(params, updates), moments), losses

  several = jax.jit(lambda state, count: jax.lax.scan(step, state, length=count), static_argnums=1)
  image = jax.jit(lambda params: draw(params, noise))
  first, state, losses = np.asarray(image(params)), (params, optimizer.init(params)), []
  with tqdm(total=steps, unit='step', dynamic_ncols=True, desc='inversion') as bar:
    for start in range(0, steps, CHUNK):
      state, each = several(state, min(CHUNK, steps - start))
      losses.extend(np.asarray(each))
      if not np.isfinite(losses[-1]).all():
        raise NonFiniteError(f'the loss of the inversion is not finite at step {len(losses)}')
      bar.set_postfix_str(f'loss {np.mean(losses[-1]):.3g}', refresh=False)
      bar.update(len(each))
      if stalled(np.array(losses)):
        break
  return Inverted(first, np.asarray(image(state[0])), np.array(losses))


def stalled(losses: np.ndarray) -> bool:
  """True if the lowest loss of no image fell by LEAST_FALL in the last PATIENCE steps: [steps, P]."""
  if len(losses) <= PATIENCE:
    return False
  return bool((losses.min(axis=0) > (1 - LEAST_FALL) * losses[:-PATIENCE].min(axis=0)).all())


def psnr(images: np.ndarray, others: np.ndarray, patches: np.ndarray) -> np.ndarray:
  """Peak signal-to-noise ratio over some patches, in dB: [P, H, W, 3] in [0, 1], the same, bool [P, N] -> [P].

  NaN if there is no such patch.
  """
  side = round(patches.shape[1]**0.5)
  size = images.shape[1] // side
  squares = ((images - others)**2).mean(axis=-1).reshape(-1, side, size, side, size).mean(axis=(2, 4))
  errors = (squares.reshape(patches.shape) * patches).sum(axis=1) / np.where(patches.any(axis=1),
                                                                             patches.sum(axis=1), np.nan)
  return -10 * np.log10(np.maximum(errors, 1e-12))
