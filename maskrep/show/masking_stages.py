"""A picture of the stages of masking an image for a ConvNet (MSCN, arXiv:2206.07700)."""

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw

from maskrep.augment.highpass import high_pass
from maskrep.augment.views import normalise
from maskrep.masking.pixels import PixelMask, mask_image
from maskrep.types import Array

CAPTION = 16  # pixels
COLUMNS = 3


def stages(key: Array, image: Array, recipe: PixelMask, sigma: float) -> dict[str, Array]:
  """Caption -> float32 image [H, W, 3]: the stages of masking a normalised image."""
  filtered = high_pass(image, sigma)

  def masked(**changes):
    return mask_image(key, filtered, dataclasses.replace(recipe, **changes))[0]

  return {
    'original': image,
    'high-pass': filtered,
    'grid mask': masked(focal=0.0, channelwise=0.0, noise_std=0.0),
    'focal mask': masked(focal=1.0, channelwise=0.0, noise_std=0.0),
    'grid, by channel': masked(focal=0.0, channelwise=1.0, noise_std=0.0),
    'grid, by channel, noise': masked(focal=0.0, channelwise=1.0),
  }


def save_masking_stages(
  path: Path, key: Array, image: np.ndarray, recipe: PixelMask, *, sigma: float, mean: tuple[float, ...],
  std: tuple[float, ...],
) -> None:
  """Writes the six stages of an image, uint8 [H, W, 3], as one PNG: 3 W wide, 2 (H + 16) high.

  Filtered images, whose mean is 0, are shown around grey.
  """
  planar = jnp.moveaxis(jnp.asarray(image), -1, 0) / 255
  panels = stages(key, normalise(planar, mean, std), recipe, sigma)
  height, width, _ = image.shape
  rows = -(-len(panels) // COLUMNS)
  sheet = Image.new('RGB', (COLUMNS * width, rows * (height + CAPTION)), 'white')
  for i, (caption, panel) in enumerate(panels.items()):
    grey = jnp.array(mean if caption == 'original' else (0.5,) * 3)
    pixels = np.asarray(jnp.round(255 * jnp.clip(panel * jnp.array(std) + grey, 0, 1)), np.uint8)
    left, top = i % COLUMNS * width, i // COLUMNS * (height + CAPTION)
    ImageDraw.Draw(sheet).text((left + 3, top + 2), caption, 'black')
    sheet.paste(Image.fromarray(pixels), (left, top + CAPTION))
  sheet.save(path, 'PNG', optimize=True)
