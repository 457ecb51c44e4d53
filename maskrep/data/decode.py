"""Decodes a picture to RGB pixels that fit the canvas, and its label map to the class of each of these pixels."""

import io

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
import simplejpeg

MAX_PIXELS = 50_000_000
MAX_BYTES = 32_000_000


class BrokenImage(Exception):
  """A picture that cannot be decoded, or is refused; the message is the reason."""


def decode(image: bytes | np.ndarray, *, canvas: int) -> np.ndarray:
  """Decodes a picture, and reduces it (antialiased, aspect ratio kept) if it is larger than the canvas.

  The pixels are those that a viewer shows: EXIF rotation is applied, transparency lies on white, 16 bits become 8,
  an animation is its first frame. A picture above MAX_BYTES or MAX_PIXELS is refused before it is decoded.

  Args:
    image: a file in any format that Pillow reads, or uint8 pixels [H, W], [H, W, 1] or [H, W, 3].
    canvas: the longest side allowed, in pixels.

  Returns:
    uint8 [h, w, 3] with 1 <= h, w <= canvas.

  Raises:
    BrokenImage: the picture cannot be decoded, for any reason.
  """
  try:
    return _fit(_rgb(image if isinstance(image, np.ndarray) else _decode_file(image, canvas)), canvas)
  except BrokenImage:
    raise
  except UnidentifiedImageError as error:
    raise BrokenImage('not a picture in a known format') from error
  except Exception as error:  # decoders meet arbitrary bytes, and there is no end to the types of error they raise
    raise BrokenImage(f'{type(error).__name__}: {error}') from error


def decode_label_map(label_map: bytes | np.ndarray, lookup: np.ndarray, *, size: tuple[int, int]) -> np.ndarray:
  """The class of each pixel of a decoded picture: the map is reduced as the picture was, by nearest neighbour.

  Args:
    label_map: a file of one channel (a palette's indices count) in any format that Pillow reads, or uint8 [H, W].
    lookup: uint8 [256], the class of each value of the map, see `label_maps.lookup`.
    size: height and width of the picture, as `decode` returned it.

  Returns:
    uint8 [*size].

  Raises:
    BrokenImage: the map cannot be decoded, for any reason, or has another shape than the picture.
  """
  try:
    values = label_map if isinstance(label_map, np.ndarray) else _decode_values(label_map)
  except BrokenImage:
    raise
  except Exception as error:  # as in `decode`
    raise BrokenImage(f'its label map: {type(error).__name__}: {error}') from error
  if values.ndim != 2 or values.dtype != np.uint8:
    raise BrokenImage(f'its label map has values of type {values.dtype} and shape {values.shape}')
  # The picture may have been reduced in two steps, which rounds twice.
  if max(abs(a - b) for a, b in zip(_fitted(*values.shape, max(size)), size, strict=True)) > 1:
    raise BrokenImage(f'its label map is {values.shape[1]} x {values.shape[0]}, which is not its shape')
  rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for old, new in zip(values.shape, size, strict=True))
  return lookup[values[rows[:, None], columns]]


def _decode_values(data: bytes) -> np.ndarray:
  if len(data) > MAX_BYTES:
    raise BrokenImage(f'the file of its label map has more than {MAX_BYTES // 10**6} MB')
  picture = Image.open(io.BytesIO(data))
  _check_pixels(*picture.size)
  if len(picture.getbands()) > 1:
    raise BrokenImage(f'its label map has the channels {", ".join(picture.getbands())}, and not one')
  values = np.asarray(picture)
  if values.min() < 0 or values.max() > 255:
    raise BrokenImage(f'its label map has values up to {values.max()}, above 255')
  return values.astype(np.uint8)


def _check_pixels(width: int, height: int) -> None:
  if width * height > MAX_PIXELS:
    raise BrokenImage(f'{width} x {height} is more than {MAX_PIXELS // 10**6} million pixels')


def _decode_file(data: bytes, canvas: int) -> np.ndarray:
  """Decodes a file to uint8 [H, W] or [H, W, 3]; a JPEG may come reduced, to no less than the canvas."""
  if len(data) > MAX_BYTES:
    raise BrokenImage(f'the file has more than {MAX_BYTES // 10**6} MB')
  # simplejpeg is nearly twice as fast as Pillow, but knows no EXIF rotation.
  if data.startswith(b'\xff\xd8') and b'Exif\0\0' not in data:
    try:
      height, width, *_ = simplejpeg.decode_jpeg_header(data)
      _check_pixels(width, height)
      least_height, least_width = _fitted(height, width, canvas)
      return simplejpeg.decode_jpeg(data, min_height=least_height, min_width=least_width, min_factor=2)
    except ValueError:  # also raised for flaws that every other reader forgives: Pillow has the last word
      pass
  picture = Image.open(io.BytesIO(data))
  _check_pixels(*picture.size)
  picture.draft('RGB', (canvas, canvas))
  picture = ImageOps.exif_transpose(picture)
  if picture.mode.startswith('I'):  # 16 bits, which Pillow's own conversion cuts off at 255
    return (np.asarray(picture).clip(0, 65535) >> 8).astype(np.uint8)
  if picture.mode == 'F':
    raise BrokenImage('floating point pixels have no agreed range')
  if picture.has_transparency_data:
    picture = picture.convert('RGBA')
    picture = Image.alpha_composite(Image.new('RGBA', picture.size, 'white'), picture)
  return np.asarray(picture.convert('RGB'))


def _rgb(pixels: np.ndarray) -> np.ndarray:
  """uint8 [H, W], [H, W, 1] or [H, W, 3] to [H, W, 3]."""
  if pixels.ndim == 2:
    pixels = pixels[..., None]
  if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or not pixels.size:
    raise BrokenImage(f'pixels of type {pixels.dtype} and shape {pixels.shape}')
  return np.broadcast_to(pixels, (*pixels.shape[:2], 3))


def _fit(pixels: np.ndarray, canvas: int) -> np.ndarray:
  height, width = _fitted(*pixels.shape[:2], canvas)
  if (height, width) == pixels.shape[:2]:
    return pixels
  return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


def _fitted(height: int, width: int, canvas: int) -> tuple[int, int]:
  scale = min(1, canvas / max(height, width))
  return max(1, round(height * scale)), max(1, round(width * scale))
