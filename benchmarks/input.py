"""Throughput of the host: images/s of reading, decoding and laying out 500 x 375 JPEGs on the 512 canvas.

  python benchmarks/input.py [--images N] [--quality Q] [--batch_size B] [--seconds S]

The pictures are made here, of smooth shapes under noise, in a folder that fits into the page cache. ImageNet's average
is 110 kB at about this size; the cost of a JPEG depends on its bytes as much as on its pixels.
"""

import argparse
import contextlib
import os
from pathlib import Path
import tempfile
import time

import numpy as np
from PIL import Image

from maskrep.data.decode import decode
from maskrep.data.loader import Loader
from maskrep.data.sources.folder import Folder

CANVAS = 512
LINKS = 15  # more names for each file: an order of a few hundred records costs more to compute than one of thousands


def write_pictures(folder: Path, count: int, quality: int) -> float:
  """Writes JPEGs of 500 x 375 pixels; returns their mean size in kB."""
  rng = np.random.default_rng(0)
  for i in range(count):
    coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    noisy = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC)) + rng.normal(0, 12, (375, 500, 3))
    file = folder / f'{i:04}.jpg'
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, quality=quality)
    for link in range(LINKS):
      os.link(file, folder / f'{i:04}-{link:04}.jpg')
  return sum(file.stat().st_size for file in folder.iterdir()) / count / (1 + LINKS) / 1000


def stages(source: Folder, batch_size: int) -> dict[str, float]:
  """CPU seconds per image of each stage in one thread, in the median batch."""
  times = {'read': [], 'decode': [], 'collate': []}
  for first in range(0, len(source) // (1 + LINKS) - batch_size + 1, batch_size):
    clocks = [time.process_time()]
    files = [source[i].image for i in range(first, first + batch_size)]
    clocks.append(time.process_time())
    pictures = [decode(file, canvas=CANVAS) for file in files]
    clocks.append(time.process_time())
    canvas = np.zeros((batch_size, CANVAS, CANVAS, 3), np.uint8)
    for row, picture in zip(canvas, pictures, strict=True):
      row[: picture.shape[0], : picture.shape[1]] = picture
    clocks.append(time.process_time())
    for stage, seconds in zip(times, np.diff(clocks), strict=True):
      times[stage].append(seconds / batch_size)
  return {stage: float(np.median(seconds)) for stage, seconds in times.items()}


def throughput(source: Folder, threads: int, batch_size: int, seconds: float) -> tuple[float, float]:
  """(images per second, images per second of CPU time) of the loader, once its first batches have claimed memory."""
  loader = Loader(source, batch_size=batch_size, canvas=CANVAS, seed=0, threads=threads, max_broken_fraction=0,
                  stall_timeout_s=60, reads=('image', 'size', 'position', 'label'))
  with contextlib.closing(loader.iterate(0)) as batches:
    for _ in range(6):
      next(batches)
    images, wall, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
      images += len(next(batches)['label'])
    return images / (time.perf_counter() - wall), images / (time.process_time() - cpu)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--images', type=int, default=256)
  parser.add_argument('--quality', type=int, default=90)
  parser.add_argument('--batch_size', type=int, default=32)
  parser.add_argument('--seconds', type=float, default=5)
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    size = write_pictures(Path(folder), args.images, args.quality)
    source = Folder(folder, 'train')
    print(f'{args.images} JPEGs of 500 x 375 pixels, {size:.0f} kB each, on the {CANVAS} canvas')
    costs = stages(source, args.batch_size)
    total = sum(costs.values())
    for stage, cost in costs.items():
      print(f'{stage:8} {cost * 1e6:6.0f} us  {cost / total:4.0%}')
    for threads in range(1, len(os.sched_getaffinity(0)) + 1):
      wall, cpu = throughput(source, threads, args.batch_size, args.seconds)
      print(f'threads {threads:3}: {wall:6.0f} images/s, {wall / threads:5.0f} per core; {cpu:5.0f} per CPU second')


if __name__ == '__main__':
  main()
