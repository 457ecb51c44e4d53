"""Pictures that tests make, and a data set prepared by tfds, which needs no TensorFlow to write encoded images."""

import io
import json
from pathlib import Path
import struct
import zlib

import numpy as np
from PIL import Image
import tensorflow_datasets as tfds


def gradient(height: int, width: int) -> np.ndarray:
  """uint8 [height, width, 3], smooth, so that JPEG keeps it within a grey level or two, and with no symmetry."""
  down, across = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)[None]
  channels = 40 + 160 * across + 0 * down, 220 - 150 * down + 0 * across, 60 + 70 * across + 70 * down
  return np.stack(channels, -1).round().astype(np.uint8)


def encode(picture: Image.Image | np.ndarray, kind: str, **options) -> bytes:
  picture = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
  file = io.BytesIO()
  picture.save(file, kind, **options)
  return file.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
  """A PNG of any bit depth, which Pillow cannot write. `rows` is what follows the header, before compression."""
  def chunk(tag: bytes, data: bytes) -> bytes:
    return struct.pack('>I', len(data)) + tag + data + struct.pack('>I', zlib.crc32(tag + data))

  header = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, 0))
  return b'\x89PNG\r\n\x1a\n' + header + chunk(b'IDAT', zlib.compress(rows, 9)) + chunk(b'IEND', b'')


def png16(pixels: np.ndarray) -> bytes:
  """A PNG of uint16 pixels [H, W] or [H, W, 3]."""
  rows = b''.join(b'\0' + row.astype('>u2').tobytes() for row in pixels)
  return png(pixels.shape[1], pixels.shape[0], 16, 0 if pixels.ndim == 2 else 2, rows)


def put_uned(folder: Path, domain: str, name: str, images: list[tuple]) -> None:
  """Writes a list of UnED in the published layout: its images are a colour, or bytes, and have a class or several."""
  entries = []
  for number, (content, classes) in enumerate(images):
    entries.append({'path': f'{domain}/{name}_{number}.png', 'class_id': classes})
    file = folder / 'images' / entries[-1]['path']
    file.parent.mkdir(parents=True, exist_ok=True)
    picture = content if isinstance(content, bytes) else encode(np.full((4, 4, 3), content, np.uint8), 'PNG')
    file.write_bytes(picture)
  lists = folder / 'info_files' / domain
  lists.mkdir(parents=True, exist_ok=True)
  (lists / f'{name}.json').write_text(json.dumps(entries))


def prepare(
  data_dir: Path, features: dict, splits: dict[str, list[dict]], shards: int | None = None, name: str = 'tiny'
) -> None:
  """Writes a data set NAME or NAME/CONFIG, version 1.0.0, below data_dir, as `tfds build` does."""
  title, _, chosen = name.partition('/')

  class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    name = title
    VERSION = tfds.core.Version('1.0.0')
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=chosen)] if chosen else []

    def _info(self):
      return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
      return {split: enumerate(examples) for split, examples in splits.items()}

    def _generate_examples(self):
      raise NotImplementedError  # _split_generators gives them all

  config = tfds.download.DownloadConfig(num_shards=shards)
  Tiny(data_dir=data_dir, file_format='array_record').download_and_prepare(download_config=config)
