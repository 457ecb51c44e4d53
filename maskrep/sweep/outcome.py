"""The outcome of a run, read from its files; missing numbers are None."""

import dataclasses
import datetime
from pathlib import Path
import statistics

from maskrep.errors import CheckpointError, PeerLost, Preempted
from maskrep.evaluation.result import TRAINED, Result, final_results
from maskrep.workdir.files import read_json
from maskrep.workdir.lock import shared_lock

Ends = dict[str, dict]  # name of a run that the sweep started -> record of its last end


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
  """The state of a run and, only if it is finished, its results: those of an unfinished run could be taken for final.

  Attributes:
    state: finished, failed, interrupted, running, or 'not started'.
    exit_code, reason: those of a run that stopped before its last step.
    figures: metric -> its result at the end of training; a share in [0, 1] if its unit is '%'.
    images_per_second: the median over the logged records, without the first.
    memory_bytes, memory_source: memory per device: 'measured', its peak, or 'compiled', the need of the compiled step.
    devices: the devices of the last start.
  """

  state: str
  exit_code: int | None = None
  reason: str = ''
  figures: dict[str, Result] = dataclasses.field(default_factory=dict)
  images_per_second: float | None = None
  memory_bytes: int | None = None
  memory_source: str = ''
  devices: str = ''


def finished(workdir: Path) -> bool:
  events, _ = read_json(workdir / 'events.jsonl')
  return bool(events) and events[-1]['event'] == 'end' and events[-1]['reason'] == 'finished'


def outcome(workdir: Path, end: dict | None = None) -> Outcome:
  """Returns the outcome of the run in a folder, which need not exist; `end` is the record of the sweep, if any."""
  try:
    with shared_lock(workdir):
      pass
  except CheckpointError:
    return Outcome(state='running')
  if finished(workdir):
    return Outcome(state='finished', exit_code=0, **_measurements(workdir))
  events, _ = read_json(workdir / 'events.jsonl')
  last = events[-1] if events else None
  # The sweep also records runs that could not write their own end. A later start, by hand, takes precedence.
  if last and not (end and _time(end) >= _time(last)):
    end = last if last['event'] == 'end' else None
  if end is None:
    return Outcome(state='interrupted', reason='no reason given') if last else Outcome(state='not started')
  state = 'interrupted' if end['exit_code'] in (Preempted.exit_code, PeerLost.exit_code) else 'failed'
  return Outcome(state=state, exit_code=end['exit_code'], reason=end['reason'])


def ends(folder: Path) -> Ends:
  """Returns the last end of each run that the sweep recorded."""
  records, _ = read_json(folder / 'events.jsonl')
  return {record['run']: record for record in records}


def _measurements(workdir: Path) -> dict:
  measured = {'figures': {result.metric: result for result in final_results(workdir).get(TRAINED, ()) if result.metric}}
  speeds = [record['images_per_second'] for record in read_json(workdir / 'metrics.jsonl')[0]
            if 'images_per_second' in record]
  if len(speeds) > 1:
    measured['images_per_second'] = statistics.median(speeds[1:])
  memory = {record['event']: record for record in read_json(workdir / 'events.jsonl')[0]}
  if 'trained' in memory:
    measured |= {'memory_bytes': memory['trained']['peak_bytes'], 'memory_source': 'measured'}
  elif 'compiled' in memory:
    measured |= {'memory_bytes': memory['compiled']['memory_bytes'], 'memory_source': 'compiled'}
  starts, _ = read_json(workdir / 'run.json')
  if starts:
    measured['devices'] = starts[-1]['devices']
  return measured


def _time(record: dict) -> datetime.datetime:
  return datetime.datetime.fromisoformat(record['time'])
