"""Event files, read back by tensorboardX's protocol buffers and checksums."""

import struct

import numpy as np
import pytest
from tensorboardX.crc32c import crc32c as peers_crc32c
from tensorboardX.proto.event_pb2 import Event, SessionLog

from maskrep.train.event_file import EventFile, crc32c

pytestmark = pytest.mark.quick


def events(folder) -> list[Event]:
  """What the one file in a folder holds, its checksums checked."""
  file, = folder.glob('events.out.tfevents.*')
  content, found = file.read_bytes(), []
  while content:
    length, = struct.unpack('<Q', content[:8])
    for start, stop in ((0, 8), (12, 12 + length)):
      crc = peers_crc32c(content[start:stop])
      masked, = struct.unpack('<I', content[stop:stop + 4])
      assert masked == ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32
    found.append(Event.FromString(content[12:12 + length]))
    content = content[16 + length:]
  return found


def test_what_is_written_is_read_back(tmp_path):
  file = EventFile(tmp_path, 301)
  values = {'loss': 1 / 3, 'eval/knn': 0.0, 'größe': -1e30, **{f'metric {i}': float(i) for i in range(40)}}
  file.scalars(301, values)
  file.scalars(2**40, {'loss': float('nan'), 'norm': float('inf')})
  version, start, first, last = events(tmp_path)  # before the file is closed
  assert version.file_version == 'brain.Event:2'
  assert (start.step, start.session_log.status) == (301, SessionLog.START)
  assert (first.step, last.step) == (301, 2**40)
  assert 0 < version.wall_time <= first.wall_time <= last.wall_time
  assert {value.tag: value.simple_value for value in first.summary.value} == {
    name: np.float32(value) for name, value in values.items()}
  nan, inf = (value.simple_value for value in last.summary.value)
  assert np.isnan(nan) and inf == np.inf


def test_checksum_of_the_standard():
  """RFC 3720, appendix B.4."""
  assert crc32c(bytes(32)) == 0x8A9136AA and crc32c(bytes(range(32))) == 0x46DD794E
