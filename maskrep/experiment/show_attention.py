"""A picture of the attention in the last block of a trained ViT or CaiT."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from maskrep.errors import ConfigError
from maskrep.experiment.opened_encoder import TEXT, open_encoder
from maskrep.models.attention_weights import last_attention
from maskrep.show import attention
from maskrep.show.sheet import LEAST, sheet_png


def draw_attention(
  workdir: Path, paths: list[str] | None, *, size: int = 0, queries: Sequence[int] = (), each_head: bool = False
) -> tuple[bytes, str]:
  """A PNG of the attention of some patches and of the class token, and a line on it.

  Args:
    workdir: a run or an import.
    paths: image files; None draws some training images of the run.
    size: side of the images in pixels; 0 is that of the training.
    queries: numbers of at most six patches, counted row by row; by default four, spread over the image.
    each_head: whether each head has a row, below that of their mean.

  Raises:
    ConfigError: there is no such encoder, an argument does not fit it, or images cannot be read.
    CheckpointError: the run has no complete checkpoint, or is under way.
  """
  opened = open_encoder(workdir, size)
  side = opened.grid('has no attention')
  queries = tuple(queries) or attention.spread(side)
  most, known = len(attention.COLOURS), set(range(side**2))
  if len(set(queries) & known) < len(queries) or len(queries) > most:
    raise ConfigError(f'--queries={",".join(map(str, queries))}: must be at most {most} different patches of '
                      f'0 ... {side**2 - 1}, counted row by row')
  batch = opened.batch(paths)
  images = opened.images(batch)
  of_patches, of_class = jax.jit(lambda variables: last_attention(opened.network, variables, images, queries))(
    opened.variables)
  heads = of_patches.shape[1]

  def rows(weights):
    """[B, heads, ...] -> [B * (1 + heads), ...] or, of the mean alone, [B, ...]."""
    mean = weights.mean(axis=1, keepdims=True)
    return np.concatenate([mean, weights] if each_head else [mean], axis=1).reshape(-1, *weights.shape[2:])

  names = ['mean', *(f'head {i + 1}' for i in range(heads))] if each_head else ['']
  of_patches = rows(of_patches)
  columns = attention.columns(
    opened.pixels(batch).repeat(len(names), axis=0), {patch: of_patches[:, i] for i, patch in enumerate(queries)},
    None if of_class is None else rows(of_class))
  width = columns['image'].shape[2]
  png = sheet_png(columns, names * len(images) if each_head else (), TEXT * width // LEAST)
  return png, (f'attention over {side} x {side} patches, the mean of {heads} heads{" and each" if each_head else ""}: '
               f'{", ".join(columns)}')
