"""A grid of small pictures, each with its own caption and frame."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from maskrep.show.sheet import CAPTION, LEAST, MARGIN, enlarged, png

FRAME = 3  # pixels


class Tile(NamedTuple):
  """One picture.

  Attributes:
    image: float [H, W, 3] in [0, 1]; values outside are clipped.
    caption: shortened if it is wider than the picture.
    frame: the colour of the frame.
  """

  image: np.ndarray
  caption: str = ''
  frame: str = 'white'


def tiles_png(rows: Sequence[Sequence[Tile]], least: int = LEAST) -> bytes:
  """The bytes of a PNG file.

  Args:
    rows: pictures of one H and W, which are enlarged by one integer factor.
    least: the least width of a picture in pixels.
  """
  height, width = rows[0][0].image.shape[:2]
  factor = max(1, -(-least // width))
  height, width = height * factor, width * factor
  caption = CAPTION if any(tile.caption for row in rows for tile in row) else 0
  across, down = width + 2 * FRAME + MARGIN, height + 2 * FRAME + MARGIN + caption
  sheet = Image.new('RGB', (max(map(len, rows)) * across + MARGIN, len(rows) * down + MARGIN), 'white')
  draw = ImageDraw.Draw(sheet)
  for i, row in enumerate(rows):
    for j, tile in enumerate(row):
      left, top = MARGIN + j * across, MARGIN + i * down
      draw.text((left + FRAME, top), shortened(tile.caption, width, draw), 'black')
      draw.rectangle((left, top + caption, left + width + 2 * FRAME - 1, top + caption + height + 2 * FRAME - 1),
                     tile.frame)
      sheet.paste(enlarged(tile.image, factor), (left + FRAME, top + caption + FRAME))
  return png(sheet)


def shortened(text: str, width: float, draw: ImageDraw.ImageDraw) -> str:
  """The text, or as much of it as fits into a width in pixels, with dots at its end."""
  if draw.textlength(text) <= width:
    return text
  while text and draw.textlength(f'{text}...') > width:
    text = text[:-1]
  return f'{text}...'
