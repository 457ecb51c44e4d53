"""Metrics on disk: metrics.jsonl and TensorBoard event files, written by one process."""

import json
from pathlib import Path

from tensorboardX import SummaryWriter

from maskrep.workdir import append_json, write_atomic


class MetricWriter:
  """Appends named floats of a step. What a killed run wrote past `start_step` is dropped: it is computed again.

  `lost_steps` and `lost_seconds` say how much that was.
  """

  def __init__(self, workdir: Path, start_step: int):
    self._path = workdir / 'metrics.jsonl'
    self.lost_steps, self.lost_seconds = 0, 0.0
    if self._path.exists():
      # A line without its newline was cut off by a kill.
      whole = [line for line in self._path.read_text().splitlines(keepends=True) if line.endswith('\n')]
      records = [json.loads(line) for line in whole]
      lost = [record for record in records if record['step'] > start_step]
      self.lost_steps = max((record['step'] - start_step for record in lost), default=0)
      self.lost_seconds = sum(record['seconds'] for record in lost)
      write_atomic(self._path, ''.join(line for line, record in zip(whole, records, strict=True) if record not in lost))
    self._events = SummaryWriter(str(workdir), purge_step=start_step + 1)

  def write(self, step: int, metrics: dict[str, float]) -> None:
    append_json(self._path, {'step': step} | metrics)
    for name, value in metrics.items():
      self._events.add_scalar(name, value, step)

  def close(self) -> None:
    self._events.close()
