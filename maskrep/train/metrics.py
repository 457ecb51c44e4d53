"""Metrics on disk: metrics.jsonl and TensorBoard event files, written by one process."""

import json
import logging
from pathlib import Path
import time

from flax.traverse_util import flatten_dict
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter

# Protobuf makes these classes at run time.
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

from maskrep.workdir.bucket import in_bucket
from maskrep.workdir.files import append, write_atomic

log = logging.getLogger(__name__)


class MetricWriter:
  """Writes the metrics of a step. Records of a killed run after `start_step` are dropped: they are recomputed.

  Attributes:
    lost_steps, lost_seconds: number of steps that were dropped, and the time that they took.
  """

  def __init__(self, workdir: Path, start_step: int):
    self._path = workdir / 'metrics.jsonl'
    self._buffered = in_bucket(workdir)  # which takes whole objects only, and few writes of each
    self._lines: list[bytes] = []
    self.lost_steps, self.lost_seconds = 0, 0.0
    if self._path.exists():
      lines, records = _whole_lines(self._path)
      lost = [record for record in records if record['step'] > start_step]
      self.lost_steps = max((record['step'] - start_step for record in lost), default=0)
      self.lost_seconds = sum(record.get('seconds', 0) for record in lost)
      kept = (line for line, record in zip(lines, records, strict=True) if record not in lost)
      write_atomic(self._path, b''.join(kept))
    # Not through SummaryWriter: its thread dies if the disk is full, and then adding to its queue blocks forever.
    self._events = EventsWriter(str(workdir / 'events'))
    self._events.write_event(Event(step=start_step + 1, session_log=SessionLog(status=SessionLog.START)))

  def write(self, step: int, metrics: dict[str, float]) -> None:
    self._lines.append((json.dumps({'step': step} | metrics) + '\n').encode())
    values = [Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()]
    self._events.write_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
    if not self._buffered:
      self.flush()

  def flush(self) -> None:
    """Writes what is buffered."""
    lines, self._lines = self._lines, []
    if lines:
      append(self._path, b''.join(lines))
      self._events.flush()


def write_config(workdir: Path, config: dict) -> None:
  """Writes a config for TensorBoard: all of it as text, and each field as a hyperparameter of the run."""
  fields = {field: value if isinstance(value, (bool, int, float, str)) else str(value)
            for field, value in flatten_dict(config, sep='.').items()}
  # Indented, Markdown leaves it as it is.
  text = ''.join(f'    {field}={value}\n' for field, value in fields.items())
  # In a file of its own: that of the metrics, with the time in seconds in its name, is opened later.
  events = EventsWriter(str(workdir / 'events'), '.config')
  for each in (summary.text('config', text), *summary.hparams(fields, {'loss': 0.0})):
    events.write_event(Event(wall_time=time.time(), summary=each))
  events.close()


def _whole_lines(path: Path) -> tuple[list[bytes], list[dict]]:
  """The valid lines of a metrics file, and their records. Other lines are moved to a file beside it.

  The last line has no newline if a kill cut it off; its step is recomputed.
  """
  *lines, _ = path.read_bytes().split(b'\n')
  lines, records, damaged = [line + b'\n' for line in lines], [], []
  for number, line in enumerate(lines, 1):
    try:
      record = json.loads(line)
      whole = isinstance(record, dict) and isinstance(record.get('step'), int)
    except ValueError:
      whole = False
    records.append(record if whole else None)
    if not whole:
      damaged.append(number)
  if damaged:
    aside = path.with_name('metrics.damaged.jsonl')
    append(aside, b''.join(lines[number - 1] for number in damaged))
    log.warning('%s: line %s cannot be read, and is moved to %s', path, ', '.join(map(str, damaged)), aside)
  kept = [(line, record) for line, record in zip(lines, records, strict=True) if record is not None]
  return [line for line, _ in kept], [record for _, record in kept]
