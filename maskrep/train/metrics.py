"""Metrics on disk: metrics.jsonl and TensorBoard event files, written by one process."""

import json
import logging
from pathlib import Path

from maskrep.train.event_file import EventFile
from maskrep.workdir.files import append_json, write_atomic

log = logging.getLogger(__name__)


class MetricWriter:
  """Appends the metrics of a step. Records that a killed run wrote past `start_step` are dropped: they are recomputed.

  Attributes:
    lost_steps, lost_seconds: how many steps and how much time were dropped.
  """

  def __init__(self, workdir: Path, start_step: int):
    self._path = workdir / 'metrics.jsonl'
    self.lost_steps, self.lost_seconds = 0, 0.0
    if self._path.exists():
      lines, records = _whole_lines(self._path)
      lost = [record for record in records if record['step'] > start_step]
      self.lost_steps = max((record['step'] - start_step for record in lost), default=0)
      self.lost_seconds = sum(record.get('seconds', 0) for record in lost)
      kept = (line for line, record in zip(lines, records, strict=True) if record not in lost)
      write_atomic(self._path, b''.join(kept))
    self._events = EventFile(workdir, start_step + 1)

  def write(self, step: int, metrics: dict[str, float]) -> None:
    append_json(self._path, {'step': step} | metrics)
    self._events.scalars(step, metrics)


def _whole_lines(path: Path) -> tuple[list[bytes], list[dict]]:
  """The lines of a file of metrics, and their records. Other lines are moved to a file beside it.

  The last line has no newline if a kill cut it off; its step is computed again.
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
    with open(aside, 'ab') as file:
      file.writelines(lines[number - 1] for number in damaged)
    log.warning('%s: line %s cannot be read, and is moved to %s', path, ', '.join(map(str, damaged)), aside)
  kept = [(line, record) for line, record in zip(lines, records, strict=True) if record is not None]
  return [line for line, _ in kept], [record for _, record in kept]
