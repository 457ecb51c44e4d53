"""A picture of masked images, and of what a trained ViT or CaiT knows of them: inversions of its representations."""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from maskrep import rng
from maskrep.augment.highpass import high_pass_images
from maskrep.errors import ConfigError
from maskrep.experiment.opened_encoder import TEXT, OpenedEncoder, open_encoder
from maskrep.masking.tokens import num_kept, random_keep
from maskrep.show.inversion import STEPS, Inverted, invert, psnr
from maskrep.show.masks import grey_out
from maskrep.show.sheet import LEAST, sheet_png, zoom
from maskrep.types import Array

RATIOS = 0.5, 0.75


def draw_inversion(
  workdir: Path, paths: list[str] | None, *, size: int = 0, ratios: Sequence[float] = RATIOS, steps: int = STEPS
) -> tuple[bytes, str]:
  """A PNG of images, masked at some ratios and inverted, and a line on them.

  Args:
    workdir, paths, size: as in `show_attention.draw_attention`.
    ratios: shares of the patches that are dropped.
    steps: the most steps of the optimisation.

  Raises:
    ConfigError, CheckpointError: as `show_attention.draw_attention`.
    NonFiniteError: the loss is not finite.
  """
  opened = open_encoder(workdir, size)
  patches = opened.grid('sees all pixels, and no patch can be left out')**2
  try:
    kept = [num_kept(patches, ratio) for ratio in ratios]
  except ValueError as error:
    raise ConfigError(f'--ratios={",".join(map(str, ratios))}: {error}; give lower ones') from error
  if steps < 1:
    raise ConfigError(f'--steps={steps}: must be at least 1')
  batch = opened.batch(paths)
  pixels = opened.pixels(batch)
  keys = rng.per_example(rng.stream(opened.seed, 'masks'), jnp.arange(len(pixels)))
  masks = [random_keep(keys, patches, count) for count in kept]
  apply = jax.jit(lambda images, *mask: encode(opened, images, *mask))
  wanted, visible = zip(*(_in_place(apply(pixels, mask), mask, patches) for mask in masks), strict=True)
  found = invert(lambda images: encode(opened, images), jnp.concatenate(wanted), jnp.concatenate(visible),
                 pixels.shape[1], steps=steps, seed=opened.seed)
  columns, lines = {'image': pixels}, []
  for i, (ratio, mask) in enumerate(zip(ratios, masks, strict=True)):
    rows = slice(i * len(pixels), (i + 1) * len(pixels))
    part = Inverted(found.first[rows], found.last[rows], found.losses[:, rows])
    name = f'{100 * ratio:g} %'
    columns |= {name: grey_out(pixels, np.asarray(mask), opened.network.patch_size), f'{name} inv.': part.last}
    lines.append(f'{name} masked: {_in_words(pixels, part, np.asarray(visible[i]))}')
  width = pixels.shape[2] * zoom(pixels)
  return sheet_png(columns, text=TEXT * width // LEAST), f'{len(found.losses)} steps; {"; ".join(lines)}'


def encode(opened: OpenedEncoder, pixels: Array, *mask: Array) -> Array:
  """Images [B, H, W, 3] in [0, 1] -> representations of their patches [B, N, D], or of those of a mask [B, K, D]."""
  preprocessing = opened.preprocessing
  images = (pixels - jnp.array(preprocessing.mean)) / jnp.array(preprocessing.std)
  images = high_pass_images(images, preprocessing.high_pass_sigma)
  return opened.network.apply(opened.variables, images, *mask)['patches']


def _in_place(found: Array, mask: Array, patches: int) -> tuple[Array, Array]:
  """Visible patches [B, K, D] at the places of a mask [B, K] -> [B, N, D], 0 elsewhere; and bool [B, N]."""
  rows = jnp.arange(len(mask))[:, None]
  empty = jnp.zeros((len(mask), patches, found.shape[-1]))
  return empty.at[rows, mask].set(found), jnp.zeros((len(mask), patches), bool).at[rows, mask].set(True)


def _in_words(pixels: np.ndarray, found: Inverted, visible: np.ndarray) -> str:
  """Means over the images, before the first step and after the last."""
  lines = [f'loss {found.losses[0].mean():.3g} to {found.losses[-1].mean():.3g}']
  for name, patches in {'visible': visible, 'dropped': ~visible}.items():
    if patches.any():
      first, last = (psnr(pixels, images, patches).mean() for images in (found.first, found.last))
      lines.append(f'{name} patches {first:.1f} to {last:.1f} dB')
  return ', '.join(lines)
