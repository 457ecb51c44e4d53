"""Metrics on disk: metrics.jsonl and TensorBoard event files, written by one process."""

import json
from pathlib import Path
import time

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from maskrep.workdir.files import append_json, write_atomic


class MetricWriter:
  """Appends the metrics of a step. Records that a killed run wrote past `start_step` are dropped: they are recomputed.

  Attributes:
    lost_steps, lost_seconds: how many steps and how much time were dropped.
  """

  def __init__(self, workdir: Path, start_step: int):
    self._path = workdir / 'metrics.jsonl'
    self.lost_steps, self.lost_seconds = 0, 0.0
    if self._path.exists():
      # A line without its newline was cut off when the run was killed.
      whole = [line for line in self._path.read_text().splitlines(keepends=True) if line.endswith('\n')]
      records = [json.loads(line) for line in whole]
      lost = [record for record in records if record['step'] > start_step]
      self.lost_steps = max((record['step'] - start_step for record in lost), default=0)
      self.lost_seconds = sum(record['seconds'] for record in lost)
      write_atomic(self._path, ''.join(line for line, record in zip(whole, records, strict=True) if record not in lost))
    # Not through SummaryWriter: its thread dies if the disk is full, and then adding to its queue blocks for ever.
    self._events = EventsWriter(str(workdir / 'events'))
    self._events.write_event(Event(step=start_step + 1, session_log=SessionLog(status=SessionLog.START)))

  def write(self, step: int, metrics: dict[str, float]) -> None:
    append_json(self._path, {'step': step} | metrics)
    values = [Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()]
    self._events.write_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
    self._events.flush()
