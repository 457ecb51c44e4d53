"""TensorBoard's event files: TFRecords of the protocol buffer `Event` (tensorflow/core/util/event.proto).

Written here because the libraries that do it import PyTorch or TensorFlow if one is installed, which takes seconds.
"""

from pathlib import Path
import socket
import struct
import time

POLYNOMIAL = 0x82F63B78  # of CRC-32C (Castagnoli), bits reversed: RFC 3720, section 12.1
# Numbers and types of the fields, as the first byte of a field holds them: number << 3 | type.
WALL_TIME, STEP, FILE_VERSION, SUMMARY, SESSION_LOG = 0x09, 0x10, 0x1A, 0x2A, 0x3A  # of Event
VALUE, TAG, SIMPLE_VALUE, STATUS = 0x0A, 0x0A, 0x15, 0x08  # of Summary, Summary.Value twice, and SessionLog
START = 1  # of a session: TensorBoard drops what an earlier session wrote from this step on


class EventFile:
  """An event file of one session, which begins at `step`, in a folder."""

  def __init__(self, folder: Path, step: int):
    self._file = open(folder / f'events.out.tfevents.{int(time.time())}.{socket.gethostname()}', 'ab')
    self._write(0, _message(FILE_VERSION, b'brain.Event:2'))
    self._write(step, _message(SESSION_LOG, bytes([STATUS, START])))

  def scalars(self, step: int, values: dict[str, float]) -> None:
    """Appends the values of a step, float32, by name."""
    self._write(step, _message(SUMMARY, b''.join(
      _message(VALUE, _message(TAG, name.encode()) + struct.pack('<Bf', SIMPLE_VALUE, value))
      for name, value in values.items())))

  def _write(self, step: int, what: bytes) -> None:
    self._file.write(record(struct.pack('<Bd', WALL_TIME, time.time()) + bytes([STEP]) + _varint(step) + what))
    self._file.flush()


def record(content: bytes) -> bytes:
  """A TFRecord: the length and the content, each followed by its masked checksum."""
  parts = struct.pack('<Q', len(content)), content
  return b''.join(part + struct.pack('<I', _masked(crc32c(part))) for part in parts)


def crc32c(content: bytes) -> int:
  crc = 0xFFFFFFFF
  for byte in content:
    crc = crc >> 8 ^ CRCS[(crc ^ byte) & 0xFF]
  return crc ^ 0xFFFFFFFF


def _masked(crc: int) -> int:
  """Turned and shifted, so that a checksum of what holds checksums is sound."""
  return (crc >> 15 | crc << 17) + 0xA282EAD8 & 0xFFFFFFFF


def _crc_of_byte(byte: int) -> int:
  for _ in range(8):
    byte = byte >> 1 ^ (POLYNOMIAL if byte & 1 else 0)
  return byte


CRCS = [_crc_of_byte(byte) for byte in range(256)]


def _message(field: int, content: bytes) -> bytes:
  return bytes([field]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
  """Seven bits per byte, the lowest first; all but the last byte have the highest bit set."""
  *more, last = [value >> shift & 0x7F for shift in range(0, max(value.bit_length(), 1), 7)]
  return bytes([*(byte | 0x80 for byte in more), last])
