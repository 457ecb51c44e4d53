"""Compares the contents that a file claims with its bytes on disk, before any array is made.

safetensors, PyTorch and `numpy.savez` store weights uncompressed; `numpy.savez_compressed` saves about a tenth of them.
So a file whose arrays are many times larger than its bytes on disk does not hold weights.
"""

import os
from pathlib import Path
import pickletools
import struct
from typing import BinaryIO
import zipfile

import numpy as np

MAX_ARRAYS = 100_000  # of one file; a ViT-H with its teacher and its optimiser has thousands
MAX_RATIO, SLACK = 20, 64 << 20  # bytes of arrays: at most so many times those on disk, and 64 MiB
MAX_HEADER = 256 * MAX_ARRAYS  # bytes of a safetensors header, or of the directory of a zip file
MAX_PICKLE = 4_000_000  # bytes of a PyTorch file that describe its tensors; a tensor takes about 100
LEGACY_PICKLES = 4  # of PyTorch before 1.6: magic number, protocol, machine, tensors


class Refused(Exception):
  """A file is refused; the message gives the reason and the remedy."""


def check(path: Path, suffix: str) -> int:
  """The number of bytes that a file occupies on disk.

  Args:
    suffix: the kind of file, such as '.npz'.

  Raises:
    Refused: it has holes or unpacks to much more than that, or it claims too many arrays.
  """
  size, stored = path.stat().st_size, _on_disk(path)
  if size > _most(stored):
    raise Refused(f'is sparse: only {megabytes(stored)} of its {megabytes(size)} are on disk, too few for weights; get '
                  'it again')
  if zipfile.is_zipfile(path):
    _check_directory(path)
    with zipfile.ZipFile(path) as archive:
      _check_members(archive, stored)
  elif suffix == '.safetensors':
    with open(path, 'rb') as file:
      _check_safetensors(file)
  elif suffix not in ('.npz', '.msgpack'):
    with open(path, 'rb') as file:
      _check_legacy_torch(file)
  return stored


def check_total(unpacked: int, stored: int) -> None:
  """Raises Refused if arrays of `unpacked` bytes are too large for a file of `stored` bytes."""
  if unpacked > _most(stored):
    raise Refused(f'would unpack to {megabytes(unpacked)}, more than {MAX_RATIO} times the {megabytes(stored)} that it '
                  'stores, which weights never do; get it from another source')


def check_count(arrays: int) -> None:
  """Raises Refused if a file has too many arrays."""
  if arrays > MAX_ARRAYS:
    raise Refused(f'has more than {MAX_ARRAYS} arrays, which no network has; give a file of weights alone')


def check_npy(archive: zipfile.ZipFile) -> None:
  """Raises Refused if an array of a .npz file claims more bytes than its part of the file has."""
  for member in archive.infolist():
    with archive.open(member) as file:
      if file.read(6) != np.lib.format.MAGIC_PREFIX:
        continue  # NumPy refuses it
      version = tuple(file.read(2))
      read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
      shape, _, dtype = read(file)
    claimed = dtype.itemsize
    for length in shape:
      claimed *= length
    if claimed > member.file_size:
      raise Refused(f'{member.filename[:100]!r} claims {megabytes(claimed)} and has {megabytes(member.file_size)}; get '
                    'it again')


def megabytes(size: int) -> str:
  """A number of bytes, as text."""
  return f'{size / 1e6:.1f} MB'


def _most(stored: int) -> int:
  return MAX_RATIO * stored + SLACK


def _on_disk(path: Path) -> int:
  """The bytes of a file that are not holes."""
  status = path.stat()
  with open(path, 'rb') as file:
    # In a file without holes, few blocks mean that the file system compresses them or has not counted them yet.
    if not status.st_size or os.lseek(file.fileno(), 0, os.SEEK_HOLE) == status.st_size:
      return status.st_size
  return min(status.st_size, 512 * status.st_blocks)


def _check_directory(path: Path) -> None:
  """Bounds the directory of a zip file, which `zipfile` reads completely when it opens the file."""
  with open(path, 'rb') as file:
    file.seek(-min(path.stat().st_size, 22 + 20 + 65_535), os.SEEK_END)
    tail = file.read()
    end = tail.rfind(b'PK\5\6')
    members, length = struct.unpack_from('<HL', tail, end + 10)
    if tail[max(end - 20, 0):end][:4] == b'PK\6\7':  # zip64 has the true numbers elsewhere
      file.seek(struct.unpack_from('<Q', tail, end - 12)[0])
      members, length = struct.unpack_from('<QQ', file.read(56), 32)
  check_count(members)
  if length > MAX_HEADER:
    raise Refused(f'has a directory of {megabytes(length)}, of more arrays than any network has; give a file of '
                  'weights alone')


def _check_members(archive: zipfile.ZipFile, stored: int) -> None:
  members = archive.infolist()
  check_count(len(members))
  # Members of a hostile file may overlap, so that its packed bytes exceed those on disk.
  packed = min(stored, sum(member.compress_size for member in members))
  check_total(sum(member.file_size for member in members), packed)
  _check_description(sum(member.file_size for member in members if member.filename.endswith('data.pkl')))


def _check_safetensors(file: BinaryIO) -> None:
  start = file.read(8)
  length = struct.unpack('<Q', start)[0] if len(start) == 8 else 0
  if length > MAX_HEADER:
    raise Refused(f'has a header of {megabytes(length)}, or is damaged; give a file of weights alone')
  check_count(file.read(length).count(b'"data_offsets"'))


def _check_legacy_torch(file: BinaryIO) -> None:
  """Reads the opcodes of a file that is not a zip file; they are not executed."""
  try:
    for _ in range(LEGACY_PICKLES):
      for _, _, at in pickletools.genops(file):
        if at is not None and at > MAX_PICKLE:
          _check_description(at)
  except (ValueError, AttributeError, KeyError, struct.error):
    return  # no pickle: `torch.load` refuses it


def _check_description(length: int) -> None:
  if length > MAX_PICKLE:
    raise Refused(f'describes its tensors in more than {megabytes(MAX_PICKLE)}, more than any network has; save the '
                  'state_dict alone')
