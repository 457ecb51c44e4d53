"""Every kind of picture comes out as a viewer shows it; whatever is broken raises one error."""

import struct
import subprocess
import sys
import textwrap

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
from PIL import Image
import pytest

from maskrep.data import limits
from maskrep.data.decode import BrokenImage, Measured, decode, measure
from tests.support.pictures import encode, gradient, png, png16

# Pillow warns of what these tests feed it.
pytestmark = [pytest.mark.quick, pytest.mark.filterwarnings('ignore:::PIL')]

RGB = gradient(48, 64)
GREY = np.asarray(Image.fromarray(RGB).convert('L'))
GREY_RGB = np.repeat(GREY[..., None], 3, -1)
PALETTE = Image.fromarray(RGB).quantize(64)
BITS = Image.fromarray(GREY).convert('1')
HALF = np.concatenate([RGB, np.full((48, 64, 1), 128, np.uint8)], -1)  # half transparent
EXIF = Image.Exif()
EXIF[0x0112] = 6  # stored on its side: turn it clockwise
CAMERA = Image.Exif()
CAMERA[0x010F] = 'a camera that was held upright'
SIDEWAYS = np.rot90(RGB)


def on_white(pixels: np.ndarray) -> np.ndarray:
  return (128 * pixels.astype(int) + 127 * 255) // 255


CORPUS = {
  'jpeg': (encode(RGB, 'JPEG', quality=95), RGB),
  'jpeg progressive': (encode(RGB, 'JPEG', quality=95, progressive=True), RGB),
  'jpeg grey': (encode(GREY, 'JPEG', quality=95), GREY_RGB),
  'jpeg cmyk': (encode(Image.fromarray(RGB).convert('CMYK'), 'JPEG', quality=95), RGB),
  'jpeg with exif': (encode(RGB, 'JPEG', quality=95, exif=CAMERA), RGB),
  'jpeg rotated': (encode(SIDEWAYS, 'JPEG', quality=95, exif=EXIF), RGB),
  'png': (encode(RGB, 'PNG'), RGB),
  'png rotated': (encode(SIDEWAYS, 'PNG', exif=EXIF), RGB),
  'png grey': (encode(GREY, 'PNG'), GREY_RGB),
  'png palette': (encode(PALETTE, 'PNG'), np.asarray(PALETTE.convert('RGB'))),
  'png 1 bit': (encode(BITS, 'PNG'), np.asarray(BITS.convert('RGB'))),
  'png rgba': (encode(HALF, 'PNG'), on_white(RGB)),
  'png grey and alpha': (encode(Image.fromarray(HALF).convert('LA'), 'PNG'), on_white(GREY_RGB)),
  'png 16 bits grey': (png16(GREY.astype(np.uint16) * 256 + 77), GREY_RGB),
  'png 16 bits rgb': (png16(RGB.astype(np.uint16) * 257), RGB),
  'tiff 16 bits': (encode(GREY.astype(np.uint16) * 257, 'TIFF'), GREY_RGB),
  'pgm 16 bits': (encode(GREY.astype(np.uint16) * 257, 'PPM'), GREY_RGB),
  'webp': (encode(RGB, 'WEBP', lossless=True), RGB),
  'gif': (encode(PALETTE, 'GIF'), np.asarray(PALETTE.convert('RGB'))),
  'gif, first frame': (encode(BITS, 'GIF', save_all=True, append_images=[PALETTE]), np.asarray(BITS.convert('RGB'))),
  'bmp': (encode(RGB, 'BMP'), RGB),
  'tiff': (encode(RGB, 'TIFF'), RGB),
  'pixels grey': (GREY, GREY_RGB),
  'pixels with one channel': (GREY[..., None], GREY_RGB),
  'pixels rgb': (RGB, RGB),
}


@pytest.mark.parametrize('kind', CORPUS)
def test_every_kind_comes_out_as_it_looks(kind):
  image, seen = CORPUS[kind]
  pixels = decode(image, canvas=64)
  assert pixels.dtype == np.uint8 and pixels.shape == seen.shape
  difference = np.abs(pixels.astype(int) - seen)
  assert difference.mean() <= 2
  assert difference.max() <= 8  # a corner of one JPEG block


def tiff12(pixels: np.ndarray) -> bytes:
  """A grey TIFF with 12 bits per pixel, packed, of uint16 pixels [H, W]; W is even."""
  first, second = (pixels.reshape(-1, 2)[:, i].astype(int) for i in range(2))
  packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], -1).astype(np.uint8).tobytes()
  tags = {256: pixels.shape[1], 257: pixels.shape[0], 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: len(pixels),
          279: len(packed)}
  table = b''.join(struct.pack('<HHII', tag, 4, 1, value) for tag, value in tags.items())
  start = 8 + len(packed)
  return struct.pack('<2sHI', b'II', 42, start) + packed + struct.pack('<H', len(tags)) + table + bytes(4)


RAMP = np.linspace(0, 1, 16).reshape(4, 4)


@pytest.mark.parametrize('largest, bits', [(1, 8), (255, 8), (256, 10), (4095, 12), (9000, 14), (65535, 16)])
@pytest.mark.parametrize('file', [png16, lambda pixels: encode(pixels, 'TIFF')], ids=['png', 'tiff'])
def test_the_range_of_sixteen_bits_is_that_of_the_values(file, largest, bits):
  """A camera of 12 bits leaves four of a file's 16 unused: the eight highest of these showed it as black."""
  values = (largest * RAMP).astype(np.uint16)
  assert measure(file(values)) == Measured(side=4, bits=bits)
  np.testing.assert_array_equal(decode(file(values), canvas=4)[..., 0], values >> bits - 8)
  np.testing.assert_array_equal(decode(file(values), canvas=4, bits=14)[..., 0], values >> max(bits, 14) - 8)


def test_a_file_that_gives_its_range_has_that():
  dark = (500 * RAMP).astype(np.uint16)
  assert measure(tiff12(dark)).bits == 12
  np.testing.assert_array_equal(decode(tiff12(dark), canvas=4)[..., 0], dark >> 4)
  pgm = b'P5 4 4 4095\n' + dark.astype('>u2').tobytes()
  assert measure(pgm).bits == 16
  np.testing.assert_allclose(decode(pgm, canvas=4)[..., 0], dark * (255 / 4095), atol=1)


@pytest.mark.parametrize('kind', ['jpeg', 'png', 'png grey', 'png 1 bit', 'png 16 bits rgb', 'gif', 'webp'])
def test_other_files_have_no_bits_to_choose_from(kind):
  assert measure(CORPUS[kind][0]) == Measured(side=64, bits=None)


@pytest.mark.parametrize('size', [(1, 1), (1, 500), (3000, 10), (1, 3000), (3000, 1), (700, 500), (512, 512), (513, 1)])
@pytest.mark.parametrize('kind', ['JPEG', 'PNG'])
def test_any_size_fits_the_canvas_with_its_aspect_ratio(size, kind):
  height, width = size
  pixels = decode(encode(gradient(height, width), kind), canvas=512)
  scale = min(1, 512 / max(size))
  assert pixels.shape == (max(1, round(height * scale)), max(1, round(width * scale)), 3)


@pytest.mark.parametrize('exif', [b'', EXIF.tobytes()], ids=['simplejpeg', 'pillow'])
def test_large_jpeg_is_decoded_at_a_reduced_scale_and_looks_the_same(exif):
  large = gradient(1200, 1600)
  small = decode(encode(np.rot90(large) if exif else large, 'JPEG', quality=95, exif=exif), canvas=256)
  assert small.shape == (192, 256, 3)
  reference = np.asarray(Image.fromarray(large).resize((256, 192), Image.Resampling.BILINEAR)).astype(int)
  assert np.abs(small - reference).mean() <= 2


def test_reduction_is_antialiased():
  noise = np.random.default_rng(0).integers(0, 256, (400, 400), dtype=np.uint8)
  assert decode(noise, canvas=40).std() < noise.std() / 5


def test_a_flaw_that_other_readers_forgive_is_forgiven():
  image, seen = CORPUS['jpeg']
  pixels = decode(image[:-2] + bytes(9) + image[-2:], canvas=64)  # stray bytes before the marker of the end
  assert np.abs(pixels.astype(int) - seen).mean() <= 2


JPEG, PNG = CORPUS['jpeg'][0], CORPUS['png'][0]
NOISE = encode(np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8), 'PNG')
BROKEN = {
  'truncated jpeg': JPEG[: len(JPEG) // 2],
  'truncated jpeg with exif': CORPUS['jpeg rotated'][0][:-200],
  'truncated png': NOISE[: len(NOISE) // 2],
  'jpeg header only': JPEG[:4],
  'empty': b'',
  'text': b'not an image\n' * 50,
  'html': b'<!doctype html><html><body>404</body></html>',
  'floating point': encode(Image.fromarray(GREY.astype(np.float32)), 'TIFF'),
  'pixels of floats': RGB.astype(np.float32),
  'pixels with two channels': RGB[..., :2],
  'no pixels': RGB[:0],
  'too many pixels': png(13000, 13000, 1, 0, bytes(13000 * 1626)),
  'too many pixels in jpeg': encode(Image.new('L', (8000, 6400)), 'JPEG'),
  'too many bytes': JPEG + bytes(limits.MAX_BYTES),
}


@pytest.mark.parametrize('kind', BROKEN)
def test_what_is_broken_raises_one_error_with_a_reason(kind):
  with pytest.raises(BrokenImage, match=r'\w+'):
    decode(BROKEN[kind], canvas=64)


@given(st.sampled_from(sorted(k for k, (image, _) in CORPUS.items() if isinstance(image, bytes))), st.data())
def test_a_damaged_file_gives_pixels_or_the_one_error(kind, data):
  image = bytearray(CORPUS[kind][0])
  for _ in range(data.draw(st.integers(1, 8))):
    image[data.draw(st.integers(0, len(image) - 1))] = data.draw(st.integers(0, 255))
  try:
    pixels = decode(bytes(image[: data.draw(st.integers(0, len(image)))]), canvas=32)
  except BrokenImage:
    return
  assert pixels.dtype == np.uint8 and pixels.ndim == 3 and 1 <= max(pixels.shape[:2]) <= 32


def test_a_small_file_of_a_huge_picture_takes_no_memory(tmp_path):
  file = tmp_path / 'huge.png'
  file.write_bytes(BROKEN['too many pixels'])
  assert file.stat().st_size < 100_000
  code = '''
    import pathlib, resource, sys
    from maskrep.data.decode import BrokenImage, decode
    data = pathlib.Path(sys.argv[1]).read_bytes()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
      decode(data, canvas=64)
    except BrokenImage:
      print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
  '''
  run = subprocess.run([sys.executable, '-c', textwrap.dedent(code), file], capture_output=True, text=True, check=True)
  assert int(run.stdout) < 50_000  # kB
