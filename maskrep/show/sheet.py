"""A sheet of pictures: one row per image, captions above the columns."""

from collections.abc import Mapping
import io

import numpy as np
from PIL import Image, ImageDraw

MARGIN, CAPTION = 4, 16  # pixels
LEAST = 96  # pixels: the least width of the widest column


def sheet_png(columns: Mapping[str, np.ndarray]) -> bytes:
  """The bytes of a PNG file.

  Args:
    columns: caption -> images, float [B, H, W, 3] in [0, 1], with one H and W per column; values outside are clipped.
      All columns are enlarged by the same integer factor, so that relative sizes are kept.

  Raises:
    ValueError: there is no column, or the columns differ in B.
  """
  columns = {caption: np.asarray(images) for caption, images in columns.items()}
  if len({len(images) for images in columns.values()}) != 1:
    raise ValueError(f'columns of {[len(images) for images in columns.values()]} images: must have equally many images')
  draw = ImageDraw.Draw(Image.new('RGB', (1, 1)))
  factor = zoom(*columns.values())
  shapes = [(images.shape[1] * factor, images.shape[2] * factor) for images in columns.values()]
  # A caption may be wider than a small view.
  widths = [max(width, round(draw.textlength(caption)))
            for caption, (_, width) in zip(columns, shapes, strict=True)]
  rows, height = len(next(iter(columns.values()))), max(height for height, _ in shapes)
  sheet = Image.new('RGB', (sum(widths) + MARGIN * (len(widths) + 1), CAPTION + rows * (height + MARGIN) + MARGIN),
                    'white')
  left = MARGIN
  for (caption, images), width in zip(columns.items(), widths, strict=True):
    ImageDraw.Draw(sheet).text((left, 2), caption, 'black')
    for i, image in enumerate(images):
      pixels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
      pixels = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
      sheet.paste(Image.fromarray(pixels), (left, CAPTION + MARGIN + i * (height + MARGIN)))
    left += width + MARGIN
  file = io.BytesIO()
  sheet.save(file, 'PNG', optimize=True)
  return file.getvalue()


def zoom(*images: np.ndarray) -> int:
  """The factor by which pixels are enlarged."""
  return max(1, -(-LEAST // max(each.shape[2] for each in images)))
