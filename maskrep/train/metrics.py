"""Metrics on disk: metrics.jsonl and TensorBoard event files, written by one process."""

import json
from pathlib import Path

from tensorboardX import SummaryWriter

from maskrep.workdir import append_json, write_atomic


class MetricWriter:
  """Appends named floats of a step. What a killed run wrote past `start_step` is dropped: it is computed again."""

  def __init__(self, workdir: Path, start_step: int):
    self._path = workdir / 'metrics.jsonl'
    if self._path.exists():
      # A line without its newline was cut off by a kill.
      whole = [line for line in self._path.read_text().splitlines(keepends=True) if line.endswith('\n')]
      write_atomic(self._path, ''.join(line for line in whole if json.loads(line)['step'] <= start_step))
    self._events = SummaryWriter(str(workdir), purge_step=start_step + 1)

  def write(self, step: int, metrics: dict[str, float]) -> None:
    append_json(self._path, {'step': step} | metrics)
    for name, value in metrics.items():
      self._events.add_scalar(name, value, step)

  def close(self) -> None:
    self._events.close()
