"""The views that an objective draws from a batch, as pixels: with the normalisation undone."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from maskrep import rng
from maskrep.types import AnyArray, Array, Objective, Views


def draw(objective: Objective, batch: Mapping[str, AnyArray], seed: int) -> Views:
  """Returns the views that a training step with this seed draws from this batch."""
  return jax.jit(objective.views)(rng.stream(seed, 'views'), batch)


def columns(objective: Objective, views: Views) -> dict[str, np.ndarray]:
  """Caption -> images, float32 [B, H, W, 3] in [0, 1], of all views."""
  return {caption: image for name, images in views.items() if is_images(images)
          for caption, image in numbered(name, pixels(objective, images)).items()}


def is_images(view: Array) -> bool:
  return view.ndim >= 4 and view.shape[-1] == 3 and jnp.issubdtype(view.dtype, jnp.floating)


def pixels(objective: Objective, images: Array) -> np.ndarray:
  """Undoes the normalisation; high-pass filtered images, whose mean is 0, are centred on grey."""
  preprocessing = objective.preprocessing
  mean = (0.5,) * 3 if preprocessing.high_pass_sigma else preprocessing.mean
  return np.asarray(images * jnp.array(preprocessing.std) + jnp.array(mean))


def numbered(name: str, images: np.ndarray) -> Mapping[str, np.ndarray]:
  """name -> [B, H, W, 3], or V numbered names for the views of [B, V, H, W, 3]."""
  if images.ndim == 4:
    return {name: images}
  return {f'{name} {i + 1}' if images.shape[1] > 1 else name: images[:, i] for i in range(images.shape[1])}
