"""Limits of an image file: formats, sizes and counts checked before it is decoded, and the memory reserved for it.

Decoding runs in threads, and a thread cannot be interrupted. Therefore a file is decoded only if its pixels and bytes
bound the cost:
- Only FORMATS are opened. Pillow reads all of them itself; for EPS, not among them, it would start Ghostscript.
- MAX_BYTES, MAX_PIXELS and MAX_SIDE are compared with the header. Of an animation only the first frame is decoded.
- The parts of a file that each cost a pass or an object, whatever their size, are counted: scans of a JPEG, segments,
  chunks and comments (MAX_READS), EXIF, strips of a TIFF. Pillow itself limits the text of a PNG to 64 MB.
The slowest files within these limits take 20 s of one core: 16-bit PGMs and BMPs, which Pillow decodes in Python.
The slowest of the other formats take 6 s.

Memory: pictures above SMALL pixels reserve the memory that decoding them takes, and wait for each other if together
they would take more than MEMORY. The peak over all threads is therefore at most

  MEMORY + threads x (2 x MAX_BYTES + 32 bytes x SMALL) = 1 GB + threads x 0.1 GB

beyond the decoded results, which the caller holds. The text of a PNG may add its 64 MB per thread.
"""

from collections.abc import Iterator
import contextlib
import io
import os
import struct
import threading

from PIL import GifImagePlugin, Image, TiffImagePlugin, UnidentifiedImageError

FORMATS = 'JPEG', 'PNG', 'WEBP', 'GIF', 'BMP', 'TIFF', 'PPM'
MAX_BYTES = 32_000_000
MAX_PIXELS = 50_000_000
MAX_SIDE = 65_535  # of a JPEG; the weights of a reduction take 16 bytes per pixel of a side
MAX_SCANS = 100  # of a JPEG, as in libtiff; each goes over all pixels, even if it has no bytes
MAX_READS = 200_000  # that Pillow may need for the parts of a file
MAX_EXIF = 2 ** 20  # bytes
MAX_STRIPS = 65_536  # of a TIFF
MAX_VALUES = 3 * 65_536  # of a TIFF's tag: a palette of 16 bits
SMALL = 2 ** 20  # pixels; pictures up to this size are decoded without waiting
MEMORY = 20 * MAX_PIXELS  # bytes

# Bytes per pixel that Pillow takes, as measured: at most during decoding, and afterwards.
_TO_DECODE = {'PNG': 4, 'WEBP': 17, 'GIF': 3, 'BMP': 6, 'TIFF': 16, 'PPM': 12}
_DECODED = {'PNG': 4, 'WEBP': 12, 'GIF': 3, 'BMP': 4, 'TIFF': 4, 'PPM': 4}
_COEFFICIENTS = 8  # the same of a JPEG that is not decoded in one scan
_GIF_BYTES = 179_000_000  # that Pillow may allocate for the first frame of a GIF to open it

# glibc keeps freed blocks of up to 32 MB, per thread; Pillow's blocks are 16 MB by default.
if 'PILLOW_BLOCK_SIZE' not in os.environ:
  Image.core.set_block_size(2 ** 26)


class BrokenImage(Exception):
  """A picture that cannot be decoded, or is refused; the message is the reason."""


def check_bytes(data: bytes) -> None:
  if len(data) > MAX_BYTES:
    raise BrokenImage(f'the file has more than {MAX_BYTES // 10**6} MB')


def check_size(width: int, height: int) -> None:
  if width * height > MAX_PIXELS:
    raise BrokenImage(f'{width} x {height} is more than {MAX_PIXELS // 10**6} million pixels')
  if max(width, height) > MAX_SIDE:
    raise BrokenImage(f'{width} x {height} has a side of more than {MAX_SIDE} pixels')


def check_jpeg(data: bytes) -> None:
  """Counts the scans of a JPEG, and the size of its EXIF segments, which Pillow joins one by one."""
  one_scan, header = _jpeg_header(data)
  if not one_scan and data.count(b'\xff\xda\0') > MAX_SCANS:
    raise BrokenImage(f'a JPEG of more than {MAX_SCANS} scans')
  if data.count(b'Exif\0\0', 0, header) > MAX_EXIF >> 16:
    raise BrokenImage(f'its EXIF has more than {MAX_EXIF >> 20} MB')


def _jpeg_header(data: bytes) -> tuple[bool, int]:
  """Whether a JPEG is certain to be decoded in one scan, and where its first scan begins."""
  at, components = 2, None
  for _ in range(1000):
    if data[at:at + 1] != b'\xff':
      break
    mark, length = data[at + 1:at + 2], int.from_bytes(data[at + 2:at + 4], 'big')
    if mark == b'\xda':
      return data[at + 4:at + 5] == components, at
    if mark in (b'\xc0', b'\xc1'):  # not progressive
      components = data[at + 9:at + 10]
    at += 2 + length
  return False, len(data)


class _Budget:
  """Bytes that threads share. They are served in the order in which they wait, so that none waits forever."""

  def __init__(self, size: int):
    self._size = self._free = size
    self._turn = threading.Lock()
    self._change = threading.Condition()

  @contextlib.contextmanager
  def reserve(self, size: int) -> Iterator[None]:
    size = min(size, self._size)
    with self._turn, self._change:
      self._change.wait_for(lambda: self._free >= size)
      self._free -= size
    try:
      yield
    finally:
      with self._change:
        self._free += size
        self._change.notify()


_BUDGET = _Budget(MEMORY)


def reserve_jpeg(
  data: bytes, size: tuple[int, int], decoded: tuple[int, int],
) -> contextlib.AbstractContextManager[None]:
  """Reserves the memory to decode a JPEG of some size at a scale that gives it the size `decoded`."""
  if size[0] * size[1] <= SMALL:
    return contextlib.nullcontext()
  coefficients = 0 if _jpeg_header(data)[0] else _COEFFICIENTS * size[0] * size[1]
  return _BUDGET.reserve(12 * decoded[0] * decoded[1] + coefficients)


class _Reader(io.BytesIO):
  """A file in memory that allows at most MAX_READS reads."""

  reads = 0

  def read(self, size: int = -1, /) -> bytes:
    self.reads += 1
    if self.reads > MAX_READS:
      raise BrokenImage(f'more than {MAX_READS} parts')
    return super().read(size)


@contextlib.contextmanager
def opened(data: bytes, canvas: int = MAX_SIDE) -> Iterator[Image.Image]:
  """Opens a file with Pillow, as a context that reserves the memory to decode and convert it.

  Args:
    data: the file.
    canvas: the longest side wanted; a JPEG is decoded at a reduced scale, but not below this.

  Raises:
    BrokenImage: the file is in none of FORMATS, or exceeds a limit.
  """
  with contextlib.ExitStack() as held:
    if data.startswith(b'RIFF'):  # a WebP, for which Pillow takes the memory when it opens it
      check_size(*(size := _webp_size(data)))
      held.enter_context(_reserve('WEBP', size, canvas))
    picture = _open(data)
    assert picture.format is not None  # only a picture that was not opened has none
    check_size(*(size := picture.size))
    if picture.format in ('JPEG', 'MPO'):
      picture.draft('RGB', (canvas, canvas))
      held.enter_context(reserve_jpeg(data, size, picture.size))
    elif picture.format != 'WEBP':
      held.enter_context(_reserve(picture.format, size, canvas))
    yield picture


def _open(data: bytes) -> Image.Image:
  if data.startswith(b'\xff\xd8'):
    check_jpeg(data)
  elif data.startswith((b'II', b'MM')):
    _check_tiff_tags(data)
  try:
    with _BUDGET.reserve(_GIF_BYTES) if data.startswith(b'GIF8') else contextlib.nullcontext():
      picture = Image.open(_Reader(data), formats=FORMATS)
      if isinstance(picture, GifImagePlugin.GifImageFile):
        picture.dispose = None  # what would stand below the next frame
  except UnidentifiedImageError as error:
    raise BrokenImage('not a picture in the format JPEG, PNG, WebP, GIF, BMP, TIFF, PPM or PGM') from error
  if picture.format in ('BMP', 'PPM'):
    picture.fp = io.BytesIO(data)  # for the pixels may be read one by one
  elif isinstance(picture, TiffImagePlugin.TiffImageFile) and picture.tile[0].codec_name == 'libtiff':
    lengths = picture.tag_v2.get(279, picture.tag_v2.get(325, ()))
    if sum(lengths) > 2 * len(data):
      raise BrokenImage('the strips of a TIFF have more bytes than the file')
  return picture


def check_exif(picture: Image.Image) -> None:
  """Compares the EXIF of a loaded picture with the limit, before Pillow parses it."""
  if len(picture.info.get('exif', b'')) > MAX_EXIF:
    raise BrokenImage(f'its EXIF has more than {MAX_EXIF >> 20} MB')


def _reserve(kind: str, size: tuple[int, int], canvas: int) -> contextlib.AbstractContextManager[None]:
  pixels = size[0] * size[1]
  if pixels <= SMALL:
    return contextlib.nullcontext()
  result = 4 if max(size) > canvas else 10  # RGB takes 4 in Pillow; 6 more are an array and its bytes
  return _BUDGET.reserve(max(_TO_DECODE[kind], _DECODED[kind] + result) * pixels)


def _webp_size(data: bytes) -> tuple[int, int]:
  """Width and height in the header of a WebP; Pillow allocates its pixels as soon as it opens it."""
  kind, header = data[12:16], data[20:30].ljust(10, b'\0')
  if kind == b'VP8X':
    return 1 + int.from_bytes(header[4:7], 'little'), 1 + int.from_bytes(header[7:10], 'little')
  if kind == b'VP8L':
    bits = int.from_bytes(header[1:5], 'little')
    return 1 + (bits & 0x3fff), 1 + (bits >> 14 & 0x3fff)
  width, height = struct.unpack('<HH', header[6:10])
  return width & 0x3fff, height & 0x3fff


def _check_tiff_tags(data: bytes) -> None:
  """Counts the values of the tags of a TIFF: Pillow creates an object for each value and each strip."""
  order = '<' if data.startswith(b'II') else '>'
  offset, count, entry, at = ('Q', 'Q', 'HHQ8x', 8) if data[2:3] == b'\x2b' else ('I', 'H', 'HHI4x', 4)
  try:
    start, = struct.unpack_from(order + offset, data, at)
    entries, = struct.unpack_from(order + count, data, start)
  except struct.error:
    return  # Pillow gives the reason
  start += struct.calcsize(order + count)
  size = struct.calcsize(order + entry)
  table = data[start:start + size * min(entries, len(data))]
  for tag, kind, values in struct.iter_unpack(order + entry, table[:len(table) // size * size]):
    strips = tag in (273, 324)
    if values > (MAX_STRIPS if strips else MAX_VALUES) and (strips or kind not in (1, 2, 6, 7)):  # bytes and text
      raise BrokenImage(f'tag {tag} of a TIFF has {values} values')
