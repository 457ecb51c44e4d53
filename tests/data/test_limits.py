"""No file starts another program, or takes longer than its pixels and bytes explain."""

import os
import struct
import time
import zlib

import numpy as np
from PIL import EpsImagePlugin, Image
import pytest

from maskrep.data import limits
from maskrep.data.decode import BrokenImage, decode, decode_label_map
from maskrep.data.sources.folder import SUFFIXES
from tests.support.pictures import encode, gradient, png

pytestmark = [pytest.mark.quick, pytest.mark.filterwarnings('ignore:::PIL')]

RGB = gradient(48, 64)
TINY = {kind: encode(gradient(9, 9), kind) for kind in ('JPEG', 'PNG')}
EXIF = Image.Exif()
EXIF[0x0112] = 6
GIF = encode(Image.new('P', (9, 9)), 'GIF')


# Formats.


@pytest.mark.parametrize('start', [b'%!PS-Adobe-3.0 EPSF-3.0\n', b'\xc5\xd0\xd3\xc6'], ids=['text', 'binary'])
@pytest.mark.parametrize('read', [
  lambda data: decode(data, canvas=64),
  lambda data: decode_label_map(data, np.arange(256, dtype=np.uint8), size=(9, 9)),
], ids=['picture', 'label map'])
def test_no_file_starts_ghostscript(tmp_path, monkeypatch, start, read):
  program = tmp_path / 'gs'
  program.write_text(f'#!/bin/sh\ntouch {tmp_path}/started\n')
  program.chmod(0o755)
  monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
  monkeypatch.setattr(EpsImagePlugin, 'gs_binary', None)  # looked for once
  script = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n'
  header = start + struct.pack('<II', 30, len(script)) + bytes(18) if start[0] == 0xC5 else b''
  with pytest.raises(BrokenImage, match='not a picture in the format JPEG, PNG, '):
    read(header + script)
  assert not (tmp_path / 'started').exists()


@pytest.mark.parametrize('kind', ['EPS', 'ICO', 'PCX', 'TGA', 'SGI', 'IM', 'DDS', 'MSP', 'JPEG2000', 'AVIF', 'QOI'])
def test_any_other_format_is_broken_and_says_what_it_is_not(kind):
  picture = Image.fromarray(RGB).convert('1' if kind == 'MSP' else 'RGB')
  with pytest.raises(BrokenImage, match='not a picture in the format JPEG, PNG, WebP, GIF, BMP, TIFF, PPM or PGM'):
    decode(encode(picture, kind), canvas=64)


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_the_formats_are_those_of_the_suffixes(suffix):
  kind = Image.registered_extensions()[suffix]
  assert kind in limits.FORMATS
  picture = Image.fromarray(RGB)
  assert decode(encode(picture.convert('L') if suffix == '.pgm' else picture, kind), canvas=64).shape == RGB.shape


def test_several_pictures_in_a_jpeg_are_its_first():
  file = encode(RGB, 'MPO', save_all=True, append_images=[Image.new('RGB', (64, 48))], exif=EXIF)
  assert np.abs(decode(file, canvas=64).astype(int) - np.rot90(RGB, -1)).mean() < 3


@pytest.mark.parametrize('kind', ['GIF', 'TIFF', 'PNG', 'WEBP'])
def test_only_the_first_frame_is_read(kind):
  first, others = Image.fromarray(RGB), [Image.new('RGB', (64, 48), (i, 0, 0)) for i in range(50)]
  file = encode(first, kind, save_all=True, append_images=others)
  expected = decode(file, canvas=64)
  assert np.abs(expected.astype(int) - RGB).mean() < 12  # a GIF has a palette
  if kind != 'WEBP':  # whose length is in its header
    np.testing.assert_array_equal(decode(file[:-len(file) // 5], canvas=64), expected)


# Time.


def chunk(tag: bytes, data: bytes = b'') -> bytes:
  return struct.pack('>I', len(data)) + tag + data + struct.pack('>I', zlib.crc32(tag + data))


def segment(mark: int, data: bytes) -> bytes:
  return struct.pack('>BBH', 0xFF, mark, len(data) + 2) + data


def progressive(side: int, scans: int) -> bytes:
  """A grey progressive JPEG; each scan after the first goes over all blocks, in a few bytes."""
  blocks = (-(-side // 8)) ** 2
  bits = ('0' + 14 * '1') * (blocks // (2**15 - 1) + 1)  # runs of blocks without anything
  bits += '1' * (-len(bits) % 8)
  scan = segment(0xDA, bytes([1, 1, 0, 1, 63, 0])) + int(bits, 2).to_bytes(len(bits) // 8, 'big').replace(
    b'\xff', b'\xff\0')
  return b''.join([
    b'\xff\xd8', segment(0xDB, bytes(1) + bytes([1] * 64)),
    segment(0xC2, struct.pack('>BHHBBBB', 8, side, side, 1, 1, 0x11, 0)),
    segment(0xC4, b'\0' + bytes([1] + 15 * [0]) + b'\0'), segment(0xC4, b'\x10' + bytes([1] + 15 * [0]) + b'\xe0'),
    segment(0xDA, bytes([1, 1, 0, 0, 0, 0])), bytes(blocks // 8 + 1), scan * (scans - 1), b'\xff\xd9'])


def tiff(side: int, strips: int, *, compression: int, length: int, data: bytes, big: bool = False) -> bytes:
  """A grey TIFF, each strip of which is `data`, said to be so long."""
  tags = {256: 1, 257: side, 258: 8, 259: compression, 262: 1, 273: None, 277: 1, 278: 1, 279: None}
  word = '<Q' if big else '<I'
  table = struct.pack('<Q' if big else '<H', len(tags))
  start = (16 if big else 8) + len(table) + len(tags) * (20 if big else 12) + struct.calcsize(word)
  lists = {273: (start, start + 8 * strips), 279: (start + 4 * strips, length)}
  for tag, value in tags.items():
    count, value = (1, value) if tag not in lists else (strips, lists[tag][0])
    table += struct.pack('<HHQQ' if big else '<HHII', tag, 4, count, value)
  header = b'II\x2b\0\x08\0\0\0' + struct.pack('<Q', 16) if big else b'II*\0' + struct.pack('<I', 8)
  return header + table + bytes(struct.calcsize(word)) + b''.join(
    struct.pack('<I', value) * strips for _, value in lists.values()) + data


def webp(width: int, height: int) -> bytes:
  """The header of an extended WebP of that size, and one frame of 1 x 1."""
  frame = encode(Image.new('RGB', (1, 1)), 'WEBP', lossless=True)[12:]
  extended = struct.pack('<I', 0) + (width - 1).to_bytes(3, 'little') + (height - 1).to_bytes(3, 'little')
  body = b'WEBPVP8X' + struct.pack('<I', len(extended)) + extended + frame
  return b'RIFF' + struct.pack('<I', len(body)) + body


PNG_START = 33  # after the header
GIF_START = GIF.index(b',', 13)
EMPTY_BLOCKS = zlib.compress(b'')[:2] + b'\0\0\0\xff\xff' * 200_000
BOMBS = {
  'jpeg of many scans': (lambda: progressive(2000, 20_000), 'more than 100 scans'),
  'jpeg of many scans, with exif': (
    lambda: b'\xff\xd8' + segment(0xE1, b'Exif\0\0' + EXIF.tobytes()[6:]) + progressive(2000, 20_000)[2:],
    'more than 100 scans'),
  'jpeg of many pieces of exif': (
    lambda: b'\xff\xd8' + segment(0xE1, b'Exif\0\0' + bytes(400)) * 50_000 + TINY['JPEG'][2:], 'EXIF .* 1 MB'),
  'jpeg of many segments, with exif': (
    lambda: b'\xff\xd8' + segment(0xE1, b'Exif\0\0') + segment(0xE5, b'') * 5_000_000 + TINY['JPEG'][2:],
    '200000 parts'),
  'png of many chunks': (
    lambda: TINY['PNG'][:PNG_START] + chunk(b'prVt') * 2_000_000 + TINY['PNG'][PNG_START:], '200000 parts'),
  'png of many chunks of pixels': (
    lambda: TINY['PNG'][:PNG_START] + chunk(b'IDAT') * 2_000_000 + TINY['PNG'][PNG_START:], '200000 parts'),
  'png of much text': (
    lambda: TINY['PNG'][:PNG_START] + b''.join(
      chunk(b'zTXt', b'%d\0\0' % i + zlib.compress(bytes(10**6))) for i in range(90)) + TINY['PNG'][PNG_START:],
    'text'),
  'png of long exif': (
    lambda: TINY['PNG'][:PNG_START] + chunk(b'eXIf', bytes(2 * 10**6)) + TINY['PNG'][PNG_START:], 'EXIF .* 1 MB'),
  'gif of many comments': (
    lambda: GIF[:GIF_START] + b'!\xfe' + b'\1a' * 15_000_000 + b'\0' + GIF[GIF_START:], '200000 parts'),
  'tiff of many strips': (lambda: tiff(60_000, 3_000_000, compression=1, length=1, data=b'a'), '273 .* 3000000 values'),
  'big tiff of many strips': (
    lambda: tiff(60_000, 3_000_000, compression=1, length=1, data=b'a', big=True), '273 .* 3000000 values'),
  'tiff that inflates the same bytes for each strip': (
    lambda: tiff(60_000, 60_000, compression=8, length=len(EMPTY_BLOCKS), data=EMPTY_BLOCKS),
    'more bytes than the file'),
  'webp of a huge size': (lambda: webp(13_000, 13_000), '13000 x 13000 is more than 50 million'),
  'a very long picture': (lambda: png(1, 70_000, 8, 0, bytes(140_000)), '1 x 70000 has a side of more than 65535'),
}


@pytest.mark.parametrize('kind', BOMBS)
def test_what_would_take_long_is_refused_soon(kind):
  make, reason = BOMBS[kind]
  data = make()
  assert len(data) < limits.MAX_BYTES
  start = time.thread_time()
  with pytest.raises(BrokenImage, match=reason):
    decode(data, canvas=64)
  assert time.thread_time() - start < 2


def test_what_is_within_the_limits_is_decoded():
  assert decode(progressive(200, limits.MAX_SCANS), canvas=64).shape == (64, 64, 3)
  assert decode(tiff(60_000, 60_000, compression=1, length=1, data=b'a'), canvas=64).shape == (64, 1, 3)
  assert decode(tiff(6, 6, compression=1, length=1, data=b'a', big=True), canvas=64).tolist() == 6 * [[[97] * 3]]
  deflated = zlib.compress(b'a')
  assert decode(tiff(6, 6, compression=8, length=len(deflated), data=deflated), canvas=64).tolist() == 6 * [[[97] * 3]]
  assert decode(TINY['PNG'][:PNG_START] + chunk(b'prVt') * 10_000 + TINY['PNG'][PNG_START:], canvas=64).shape[0] == 9
