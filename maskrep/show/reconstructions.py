"""A picture of images above their reconstructions."""

import io

import numpy as np
from PIL import Image

COLUMNS = 8


def reconstructions_png(images: np.ndarray, reconstructions: np.ndarray, *, zoom: int) -> bytes:
  """The bytes of a PNG file: rows of at most `COLUMNS` images, each above its reconstructions.

  Args:
    images, reconstructions: float [B, H, W, 3] in [0, 1]; values outside are clipped.
    zoom: factor by which pixels are enlarged.

  Raises:
    ValueError: the two differ in shape, there are no images, or they are not [B, H, W, 3].
  """
  images, reconstructions = np.asarray(images), np.asarray(reconstructions)
  if images.shape != reconstructions.shape:
    raise ValueError(f'images are {images.shape} and reconstructions {reconstructions.shape}: must be the same')
  if images.ndim != 4 or images.shape[-1] != 3 or not len(images):
    raise ValueError(f'images are {images.shape}: must be [B, H, W, 3]')
  b, h, w, _ = images.shape
  columns = min(COLUMNS, b)
  height, width, margin = h * zoom, w * zoom, 4
  pair = 2 * height + 1 + margin
  sheet = np.full((-(-b // columns) * pair + margin, columns * (width + margin) + margin, 3), 255, np.uint8)
  for i in range(b):
    row, column = divmod(i, columns)
    left = margin + column * (width + margin)
    for j, each in enumerate((images[i], reconstructions[i])):
      top = margin + row * pair + j * (height + 1)
      pixels = np.round(np.clip(each, 0, 1) * 255).astype(np.uint8)
      sheet[top:top + height, left:left + width] = pixels.repeat(zoom, axis=0).repeat(zoom, axis=1)
  file = io.BytesIO()
  Image.fromarray(sheet).save(file, 'PNG')
  return file.getvalue()
