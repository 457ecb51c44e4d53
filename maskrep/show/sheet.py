"""A sheet of pictures: one row per image, captions above the columns."""

from collections.abc import Mapping, Sequence
import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MARGIN, TEXT = 4, 10  # pixels
CAPTION = TEXT + 6
LEAST = 96  # pixels: the least width of the widest column


def sheet_png(columns: Mapping[str, np.ndarray], rows: Sequence[str] = (), text: int = TEXT) -> bytes:
  """The bytes of a PNG file.

  Args:
    columns: caption -> images, float [B, H, W, 3] in [0, 1], with one H and W per column; values outside are clipped.
      All columns are enlarged by the same integer factor, so that relative sizes are kept.
    rows: names of the rows, to their left; by default they have none.
    text: height of the letters in pixels.

  Raises:
    ValueError: there is no column, or the columns differ in B.
  """
  columns = {caption: np.asarray(images) for caption, images in columns.items()}
  if len({len(images) for images in columns.values()}) != 1:
    raise ValueError(f'columns of {[len(images) for images in columns.values()]} images: must have equally many images')
  font, caption = ImageFont.load_default(text), text + CAPTION - TEXT
  factor = zoom(*columns.values())
  shapes = [(images.shape[1] * factor, images.shape[2] * factor) for images in columns.values()]
  # A caption may be wider than a small view.
  widths = [max(width, round(font.getlength(name))) for name, (_, width) in zip(columns, shapes, strict=True)]
  count, height = len(next(iter(columns.values()))), max(height for height, _ in shapes)
  left = MARGIN + max((round(font.getlength(name)) + MARGIN for name in rows), default=0)
  sheet = Image.new('RGB', (left + sum(widths) + MARGIN * len(widths), caption + count * (height + MARGIN) + MARGIN),
                    'white')
  draw = ImageDraw.Draw(sheet)
  for i, name in enumerate(rows):
    draw.text((MARGIN, caption + MARGIN + i * (height + MARGIN)), name, 'black', font)
  for (name, images), width in zip(columns.items(), widths, strict=True):
    draw.text((left, 2), name, 'black', font)
    for i, image in enumerate(images):
      sheet.paste(enlarged(image, factor), (left, caption + MARGIN + i * (height + MARGIN)))
    left += width + MARGIN
  return png(sheet)


def enlarged(image: np.ndarray, factor: int) -> Image.Image:
  """Pixels, float [H, W, 3] in [0, 1], as squares of `factor` pixels; values outside are clipped."""
  pixels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
  return Image.fromarray(pixels.repeat(factor, axis=0).repeat(factor, axis=1))


def png(picture: Image.Image) -> bytes:
  """The bytes of a PNG file."""
  file = io.BytesIO()
  picture.save(file, 'PNG', optimize=True)
  return file.getvalue()


def zoom(*images: np.ndarray) -> int:
  """The factor by which pixels are enlarged."""
  return max(1, -(-LEAST // max(each.shape[2] for each in images)))
