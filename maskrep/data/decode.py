"""Decodes a picture to RGB pixels that fit the canvas, and its label map to the class of each of these pixels."""

from collections.abc import Iterator
import contextlib
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin
import simplejpeg

from maskrep.data import limits
from maskrep.data.limits import BrokenImage

_TURNS = {
  2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}  # by EXIF orientation


RANGES = 8, 10, 12, 14, 16  # bits that cameras and scanners fill of the 16 of a file


def decode(image: bytes | np.ndarray | Image.Image, *, canvas: int, bits: int = 8) -> np.ndarray:
  """Decodes a picture, and reduces it (antialiased, aspect ratio kept) if it is larger than the canvas.

  The pixels are those that a viewer shows: EXIF rotation is applied, transparency lies on white, an animation is its
  first frame. Of a 16-bit grey picture the eight highest of the bits in use are kept, see `measure`. Time and memory
  are bounded, see `maskrep.data.limits`: a picture that may cost more is refused before it is decoded.

  Args:
    image: a file in one of `limits.FORMATS`, uint8 pixels [H, W], [H, W, 1] or [H, W, 3], or a Pillow image.
    canvas: the longest side allowed, in pixels.
    bits: a lower bound of the bits in use, so that all pictures of one camera have one scale.

  Returns:
    uint8 [h, w, 3] with 1 <= h, w <= canvas.

  Raises:
    BrokenImage: the picture cannot be decoded, for any reason.
  """
  try:
    if isinstance(image, np.ndarray):
      return _fit(_rgb(image), canvas)
    return _pixels(image, canvas, bits) if isinstance(image, Image.Image) else _decode_file(image, canvas, bits)
  except BrokenImage:
    raise
  except Exception as error:  # decoders meet arbitrary bytes, and there is no end to the types of error they raise
    raise BrokenImage(f'{type(error).__name__}: {error}') from error


class Measured(NamedTuple):
  """The longest side of a picture in pixels, and the bits in use of a grey one with more than 8 bits, else None."""

  side: int
  bits: int | None


def measure(image: bytes) -> Measured:
  """Measures a file.

  The bits in use are given by a TIFF of 9 to 15 bits. A PGM uses all 16, as Pillow scales it by its largest value. For
  all others it is the smallest of `RANGES` that holds their largest value, as no field of theirs gives the bits in use.

  Raises:
    BrokenImage: the picture cannot be decoded, for any reason.
  """
  try:
    limits.check_bytes(image)
    with limits.opened(image) as picture:
      side, bits = max(picture.size), None
      if picture.mode.startswith('I'):
        picture.load()
        bits = _used_bits(picture)
      return Measured(side, bits)
  except BrokenImage:
    raise
  except Exception as error:  # as in `decode`
    raise BrokenImage(f'{type(error).__name__}: {error}') from error


def _used_bits(picture: Image.Image) -> int:
  """The bits in use of a loaded picture with an integer mode, see `measure`."""
  if picture.format == 'PPM':
    return 16
  tiff = isinstance(picture, TiffImagePlugin.TiffImageFile)
  declared = picture.tag_v2.get(258, (16,))[0] if tiff else 16  # BitsPerSample
  if 8 < declared < 16:
    return declared
  largest = max(int(np.asarray(strip).max()) for _, strip in _strips(picture))
  return next((bits for bits in RANGES if largest < 2**bits), RANGES[-1])


def decode_label_map(
  label_map: bytes | np.ndarray | None, lookup: np.ndarray | None, *, size: tuple[int, int]
) -> np.ndarray:
  """The class of each pixel of a decoded picture: the map is reduced like the picture, by nearest neighbour.

  Args:
    label_map: a file of one channel (a palette's indices count) in one of `limits.FORMATS`, or uint8 [H, W].
    lookup: uint8 [256], the class of each value of the map, see `label_maps.lookup`.
    size: height and width of the picture, as `decode` returned it.

  Returns:
    uint8 [*size].

  Raises:
    BrokenImage: there is no map; it cannot be decoded, for any reason; or its shape is not the picture's.
  """
  try:
    if label_map is None or lookup is None:
      raise BrokenImage('there is none')
    if isinstance(label_map, np.ndarray):
      return _fit_values(label_map, lookup, size)
    limits.check_bytes(label_map)
    with limits.opened(label_map) as picture:
      return _fit_values(_values(picture), lookup, size)
  except BrokenImage as error:
    raise BrokenImage(f'its label map: {error}') from error
  except Exception as error:  # as in `decode`
    raise BrokenImage(f'its label map: {type(error).__name__}: {error}') from error


def _values(picture: Image.Image) -> np.ndarray:
  """The values of a label map, uint8 [H, W]."""
  if len(picture.getbands()) > 1:
    raise BrokenImage(f'it has the channels {", ".join(picture.getbands())}, and not one')
  picture.load()
  result = np.empty((picture.height, picture.width), np.uint8)
  for top, strip in _strips(picture):
    values = np.asarray(strip)
    if values.min() < 0 or values.max() > 255:
      raise BrokenImage(f'it has values up to {values.max()}, above 255')
    result[top:top + len(values)] = values
  return result


def _fit_values(values: np.ndarray, lookup: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  if values.ndim != 2 or values.dtype != np.uint8:
    raise BrokenImage(f'it has values of type {values.dtype} and shape {values.shape}')
  # The picture may have been reduced in two steps, which rounds twice.
  height, width = values.shape
  if max(abs(a - b) for a, b in zip(_fitted(height, width, max(size)), size, strict=True)) > 1:
    raise BrokenImage(f'it is {width} x {height}, which is not the shape of the picture')
  rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for old, new in zip(values.shape, size, strict=True))
  return lookup[values[rows[:, None], columns]]


def _decode_file(data: bytes, canvas: int, bits: int) -> np.ndarray:
  limits.check_bytes(data)
  # simplejpeg is nearly twice as fast as Pillow, but knows no EXIF rotation.
  if data.startswith(b'\xff\xd8') and b'Exif\0\0' not in data:
    with contextlib.suppress(ValueError):  # also raised for flaws that other readers forgive: Pillow has the last word
      return _decode_jpeg(data, canvas)
  with limits.opened(data, canvas=canvas) as picture:
    return _pixels(picture, canvas, bits)


def _decode_jpeg(data: bytes, canvas: int) -> np.ndarray:
  limits.check_jpeg(data)
  height, width = map(int, simplejpeg.decode_jpeg_header(data)[:2])
  limits.check_size(width, height)
  least_height, least_width = _fitted(height, width, canvas)
  decoded_height, decoded_width = height, width
  if height * width > limits.SMALL:
    decoded_height, decoded_width = map(int, simplejpeg.decode_jpeg_header(
      data, min_height=least_height, min_width=least_width, min_factor=2)[:2])
  with limits.reserve_jpeg(data, (height, width), (decoded_height, decoded_width)):
    return _fit(_rgb(simplejpeg.decode_jpeg(
      data, min_height=least_height, min_width=least_width, min_factor=2)), canvas)


def _pixels(picture: Image.Image, canvas: int, bits: int) -> np.ndarray:
  """Decodes and reduces a picture, as uint8 [h, w, 3]."""
  picture.load()
  if picture.mode == 'F':
    raise BrokenImage('floating point pixels have no agreed range')
  limits.check_exif(picture)
  picture = _upright_rgb(picture, picture.getexif().get(ExifTags.Base.Orientation, 1), bits)
  new_height, new_width = _fitted(picture.height, picture.width, canvas)
  if (new_width, new_height) != picture.size:
    picture = picture.resize((new_width, new_height), Image.Resampling.BILINEAR)
  return np.asarray(picture)


def _upright_rgb(picture: Image.Image, orientation: int, bits: int) -> Image.Image:
  """Rotates a loaded picture by its EXIF orientation, and converts it to RGB as it looks on white.

  A large picture is converted in strips, as each step makes a copy.
  """
  transparent = picture.has_transparency_data
  if picture.mode == 'RGB' and not transparent and orientation not in _TURNS:
    return picture
  if picture.mode.startswith('I'):
    bits = max(bits, _used_bits(picture))
  strips = ((top, _visible(strip, transparent, bits)) for top, strip in _strips(picture, orientation))
  _, first = next(strips)
  if first.width * first.height == picture.width * picture.height:
    return first
  result = Image.new('RGB', (first.width, picture.width * picture.height // first.width))
  result.paste(first, (0, 0))
  for top, strip in strips:
    result.paste(strip, (0, top))
  return result


def _strips(picture: Image.Image, orientation: int = 1) -> Iterator[tuple[int, Image.Image]]:
  """Yields (top, strip) of a loaded picture, turned upright, in strips of at most about `limits.SMALL` pixels."""
  turn = _TURNS.get(orientation)
  width, height = picture.size
  if width * height <= limits.SMALL:
    yield 0, picture if turn is None else picture.transpose(turn)
    return
  sideways = orientation in (5, 6, 7, 8)
  across, length = (height, width) if sideways else (width, height)
  step = max(1, limits.SMALL // across)
  for top in range(0, length, step):
    first, last = top, min(top + step, length)
    if orientation in (3, 4, 7, 8):  # the end of the file is at the top
      first, last = length - last, length - first
    strip = picture.crop((first, 0, last, height) if sideways else (0, first, width, last))
    yield top, strip if turn is None else strip.transpose(turn)


def _visible(picture: Image.Image, transparent: bool, bits: int) -> Image.Image:
  """RGB as it looks on white."""
  if picture.mode.startswith('I'):  # Pillow's own conversion cuts values off at 255
    return Image.fromarray((np.asarray(picture).clip(0, 2**bits - 1) >> (bits - 8)).astype(np.uint8)).convert('RGB')
  if transparent:
    picture = picture.convert('RGBA')
    picture = Image.alpha_composite(Image.new('RGBA', picture.size, 'white'), picture)
  return picture.convert('RGB')


def _rgb(pixels: np.ndarray) -> np.ndarray:
  """uint8 [H, W], [H, W, 1] or [H, W, 3] to [H, W, 3]."""
  if pixels.ndim == 2:
    pixels = pixels[..., None]
  if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or not pixels.size:
    raise BrokenImage(f'pixels of type {pixels.dtype} and shape {pixels.shape}')
  return np.broadcast_to(pixels, (*pixels.shape[:2], 3))


def _fit(pixels: np.ndarray, canvas: int) -> np.ndarray:
  height, width = _fitted(pixels.shape[0], pixels.shape[1], canvas)
  if (height, width) == pixels.shape[:2]:
    return pixels
  return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


def _fitted(height: int, width: int, canvas: int) -> tuple[int, int]:
  scale = min(1, canvas / max(height, width))
  return max(1, round(height * scale)), max(1, round(width * scale))
