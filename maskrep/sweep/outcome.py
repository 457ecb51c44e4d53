"""What has become of a run, read from what it left on disk; a figure that is not there is None."""

import dataclasses
import datetime
from pathlib import Path
import statistics

from maskrep.errors import CheckpointError, Preempted
from maskrep.workdir.files import read_json
from maskrep.workdir.lock import shared_lock

Ends = dict[str, dict]  # of the runs that the sweep itself has started: the last end of each, by name


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
  """State and, of a finished run only, figures: those of any other would pass for what it set out to find.

  Attributes:
    state: finished, failed, interrupted, running, or 'not started'.
    exit_code, reason: of a run that has ended before its end.
    knn: accuracy in [0, 1].
    low_shot: labels per class -> mean and standard deviation of the accuracy over the draws.
    images_per_second: the median over what was logged, without the first line.
    memory_bytes, memory_source: of a device: 'measured' at its peak, or 'compiled', what the step needs.
    devices: of the last start.
  """

  state: str
  exit_code: int | None = None
  reason: str = ''
  knn: float | None = None
  low_shot: dict[int, tuple[float, float]] = dataclasses.field(default_factory=dict)
  images_per_second: float | None = None
  memory_bytes: int | None = None
  memory_source: str = ''
  devices: str = ''


def finished(workdir: Path) -> bool:
  events, _ = read_json(workdir / 'events.jsonl')
  return bool(events) and events[-1]['event'] == 'end' and events[-1]['reason'] == 'finished'


def outcome(workdir: Path, end: dict | None = None) -> Outcome:
  """Of the run in a folder, which may not be there; `end` is how the sweep saw it end, where it did."""
  try:
    with shared_lock(workdir):
      pass
  except CheckpointError:
    return Outcome(state='running')
  if finished(workdir):
    return Outcome(state='finished', exit_code=0, **_figures(workdir))
  events, _ = read_json(workdir / 'events.jsonl')
  last = events[-1] if events else None
  # The sweep also sees the end of what could not write it. A later start, by hand, counts more.
  if last and not (end and _time(end) >= _time(last)):
    end = last if last['event'] == 'end' else None
  if end is None:
    return Outcome(state='interrupted', reason='it did not say why') if last else Outcome(state='not started')
  state = 'interrupted' if end['exit_code'] == Preempted.exit_code else 'failed'
  return Outcome(state=state, exit_code=end['exit_code'], reason=end['reason'])


def ends(folder: Path) -> Ends:
  """The last end of each run that the sweep has noted."""
  records, _ = read_json(folder / 'events.jsonl')
  return {record['run']: record for record in records}


def _figures(workdir: Path) -> dict:
  figures = {}
  results = [record for record in read_json(workdir / 'results.jsonl')[0] if record['features'] == 'trained']
  if results:
    figures['knn'] = results[-1]['knn']
    figures['low_shot'] = {int(count): (statistics.fmean(draws), statistics.pstdev(draws))
                           for count, draws in results[-1]['low_shot'].items()}
  speeds = [record['images_per_second'] for record in read_json(workdir / 'metrics.jsonl')[0]
            if 'images_per_second' in record]
  if len(speeds) > 1:
    figures['images_per_second'] = statistics.median(speeds[1:])
  memory = {record['event']: record for record in read_json(workdir / 'events.jsonl')[0]}
  if 'trained' in memory:
    figures |= {'memory_bytes': memory['trained']['peak_bytes'], 'memory_source': 'measured'}
  elif 'compiled' in memory:
    figures |= {'memory_bytes': memory['compiled']['memory_bytes'], 'memory_source': 'compiled'}
  starts, _ = read_json(workdir / 'run.json')
  if starts:
    figures['devices'] = starts[-1]['devices']
  return figures


def _time(record: dict) -> datetime.datetime:
  return datetime.datetime.fromisoformat(record['time'])
