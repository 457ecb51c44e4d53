"""Large pictures take a bounded memory over all threads, and look as if each had been decoded as a whole."""

import io
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
from PIL import Image, ImageOps
import pytest

from maskrep.data import limits
from maskrep.data.decode import BrokenImage, decode, decode_label_map
from tests.support.pictures import encode, png


def exif(orientation: int) -> Image.Exif:
  result = Image.Exif()
  result[0x0112] = orientation
  return result


def plain(file: bytes, canvas: int) -> np.ndarray:
  """How a picture looks, in steps that each copy the whole."""
  picture = ImageOps.exif_transpose(Image.open(io.BytesIO(file)))
  if picture.mode.startswith('I'):
    picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
  elif picture.has_transparency_data:
    picture = Image.alpha_composite(Image.new('RGBA', picture.size, 'white'), picture.convert('RGBA'))
  picture = picture.convert('RGB')
  scale = min(1, canvas / max(picture.size))
  size = tuple(max(1, round(side * scale)) for side in picture.size)
  return np.asarray(picture if size == picture.size else picture.resize(size, Image.Resampling.BILINEAR))


@pytest.mark.parametrize('small', [limits.SMALL, 777], ids=['at once', 'in strips'])
@pytest.mark.parametrize('mode', ['RGBA', 'LA', 'P', 'P with alpha', 'L with alpha', 'I;16', 'RGB', 'L', '1', 'CMYK'])
def test_pixels_are_the_same_in_strips_bit_for_bit(monkeypatch, mode, small):
  monkeypatch.setattr(limits, 'SMALL', small)
  rng = np.random.default_rng(0)
  for height, width in [(61, 47), (40, 90), (3, 200)]:
    pixels = Image.fromarray(rng.integers(0, 256, (height, width, 4), dtype=np.uint8))
    options = {'P with alpha': {'transparency': bytes(range(256))}, 'L with alpha': {'transparency': 9}}.get(mode, {})
    if mode == 'I;16':
      picture = Image.fromarray(rng.integers(0, 65536, (height, width), dtype=np.uint16))
    elif mode.startswith('P'):
      picture = Image.fromarray(np.asarray(pixels)[..., 0]).convert('P')
      picture.putpalette(rng.integers(0, 256, 768, dtype=np.uint8).tobytes())
    else:
      picture = pixels.convert(mode.split()[0])
    for orientation in range(1, 9):
      file = encode(picture, 'TIFF' if mode == 'CMYK' else 'PNG', exif=exif(orientation), **options)
      for canvas in (20, 500):
        np.testing.assert_array_equal(decode(file, canvas=canvas), plain(file, canvas))


def test_a_label_map_is_the_same_in_strips(monkeypatch):
  values = np.random.default_rng(0).integers(0, 256, (61, 47), dtype=np.uint8)
  monkeypatch.setattr(limits, 'SMALL', 777)
  found = decode_label_map(encode(values, 'PNG'), np.arange(256, dtype=np.uint8)[::-1], size=values.shape)
  np.testing.assert_array_equal(found, 255 - values)


def test_threads_share_the_budget_and_none_waits_for_ever():
  budget, taken, most, lock = limits._Budget(100), [0], [0], threading.Lock()

  def take(size: int) -> None:
    for _ in range(20):
      with budget.reserve(size):
        with lock:
          taken[0] += min(size, 100)
          most[0] = max(most[0], taken[0])
        time.sleep(0.0002)
        with lock:
          taken[0] -= min(size, 100)

  threads = [threading.Thread(target=take, args=[size]) for size in (1, 30, 50, 60, 100, 500, 40, 7)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join(30)
  assert not any(thread.is_alive() for thread in threads)
  assert 60 <= most[0] <= 100


def test_a_picture_that_is_broken_gives_its_memory_back():
  whole = png(4000, 4000, 8, 6, bytes(4000 * 16001))
  for _ in range(2 * limits.MEMORY // (8 * 4000 * 4000) + 1):  # would wait for ever
    with pytest.raises(BrokenImage, match='truncated'):
      decode(whole[:len(whole) // 2], canvas=64)


PEAK = '''
  from concurrent import futures
  import pathlib, resource, sys
  from PIL import Image
  from maskrep.data.decode import decode
  Image.init()
  files = [pathlib.Path(name).read_bytes() for name in sys.argv[2:]]
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  with futures.ThreadPoolExecutor(int(sys.argv[1])) as pool:
    assert all(pixels.shape == (512, 512, 3) for pixels in pool.map(lambda file: decode(file, canvas=512), files))
  print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
'''


def peak(threads: int, *files) -> int:
  """Bytes by which a process grew at most while threads decoded these files."""
  command = [sys.executable, '-c', textwrap.dedent(PEAK), str(threads), *map(str, files)]
  return int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def bound(threads: int) -> int:  # as the docstring of limits.py says
  return 20 * limits.MAX_PIXELS + threads * (2 * limits.MAX_BYTES + 32 * limits.SMALL)


@pytest.mark.slow
def test_eight_threads_of_50_megapixels_stay_within_the_bound(tmp_path):
  (tmp_path / 'large.png').write_bytes(png(7000, 7000, 8, 6, bytes(7000 * 28001)))
  assert (tmp_path / 'large.png').stat().st_size < 250_000
  assert peak(8, *[tmp_path / 'large.png'] * 8) < bound(8)


@pytest.mark.slow
def test_any_mixture_of_large_files_stays_within_the_bound(tmp_path):
  rng = np.random.default_rng(0)
  pixels = Image.fromarray(rng.integers(0, 256, (1750, 1750, 4), dtype=np.uint8)).resize((7000, 7000), 0)
  files = {
    'webp': encode(pixels, 'WEBP', lossless=True, method=0), 'png': encode(pixels, 'PNG', exif=exif(6)),
    'jpg': encode(pixels.convert('CMYK'), 'JPEG', quality=40, progressive=True, exif=exif(8)),
    'gif': encode(pixels.convert('L'), 'GIF', disposal=2, transparency=3),
    'tif': encode(pixels, 'TIFF', compression='tiff_deflate'),
  }
  for suffix, data in files.items():
    (tmp_path / f'large.{suffix}').write_bytes(data)
  assert peak(16, *[tmp_path / f'large.{suffix}' for suffix in [*files] * 8]) < bound(16)
