"""The content of the page on one run, read from the files in its workdir; its weights are not used."""

from collections.abc import Mapping, Sequence
import dataclasses
import json
from pathlib import Path
import re
from typing import Any

from flax.traverse_util import flatten_dict

from maskrep.errors import ConfigError
from maskrep.evaluation import verdict
from maskrep.evaluation.result import NOTHING, TRAINED, final_results
from maskrep.evaluation.verdict import Measure
from maskrep.experiment import config_file
from maskrep.page.chart import Points
from maskrep.sweep.outcome import Outcome, outcome
from maskrep.workdir.config import diff, load_config
from maskrep.workdir.files import read_json

PARTS = 'encoder', 'tokenizer'  # what a run can train, by the name of the section
ABSENT = '(none)'  # of `diff`


@dataclasses.dataclass(frozen=True, kw_only=True)
class Time:
  """Where the time of all starts of a run went.

  Attributes:
    seconds: phase -> seconds.
    lost_steps, lost_seconds: steps that were done again after a kill, and their time.
    unknown: number of starts that were killed, of which only the time up to the first step is known.
  """

  seconds: dict[str, float]
  lost_steps: int
  lost_seconds: float
  unknown: int

  @property
  def goodput(self) -> float | None:
    """The share of the time in which steps were done that were not lost; None if nothing is recorded."""
    whole = sum(self.seconds.values())
    return max(0.0, self.seconds.get('step', 0.0) - self.lost_seconds) / whole if whole else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
  """One run, or an import that was evaluated, which has no config, curves or starts.

  Attributes:
    name: its name on the page.
    curves: metric -> points.
    measures: the measures of collapse; empty if nothing was measured.
    findings: (subject, text): the other lines of the verdict.
    config: dotted field -> value, as text.
    packaged: the config that the run was started with by name, '' if there is none.
    changed: dotted field -> its value in the packaged config and in the run, as text.
    starts: the records of run.json.
    events: the records of events.jsonl.
  """

  name: str
  workdir: Path
  outcome: Outcome
  curves: dict[str, Points]
  measures: Sequence[Measure]
  findings: Sequence[tuple[str, str]]
  remedy: str
  time: Time
  config: dict[str, str]
  packaged: str
  changed: dict[str, tuple[str, str]]
  starts: Sequence[Mapping[str, Any]]
  events: Sequence[Mapping[str, Any]]

  @property
  def collapsed(self) -> bool:
    return any(measure.below for measure in self.measures)

  @property
  def step(self) -> int:
    """The last step that was logged; 0 if none was."""
    return max((points[-1][0] for points in self.curves.values()), default=0)


def read(workdir: Path, name: str) -> Facts:
  """Reads a run.

  Raises:
    ConfigError: a later version of maskrep wrote its config.
    CheckpointError: its config is damaged.
  """
  config = load_config(workdir) if (workdir / 'config.json').exists() else {}
  logged, _ = read_json(workdir / 'metrics.jsonl')
  events, _ = read_json(workdir / 'events.jsonl')
  starts, _ = read_json(workdir / 'run.json')
  found, rows = outcome(workdir), final_results(workdir)
  packaged, changed = from_packaged(config, starts)
  return Facts(
    name=name, workdir=workdir, outcome=found, curves=curves(logged),
    measures=verdict.measures(rows.get(TRAINED, ()), logged),
    findings=findings(workdir, config, logged) if config else [], remedy=verdict.against_collapse(config),
    time=times(events), config={field: repr(value) for field, value in _flat(config).items()}, packaged=packaged,
    changed=changed, starts=starts, events=events)


def curves(logged: Sequence[Mapping[str, float]]) -> dict[str, Points]:
  """Metric -> points, of the records of metrics.jsonl."""
  found = {}
  for record in logged:
    for metric, value in record.items():
      if metric != 'step':
        found.setdefault(metric, []).append((record['step'], value))
  return found


def findings(workdir: Path, config: Mapping[str, Any], logged: Sequence[Mapping[str, float]]) -> list[tuple[str, str]]:
  """The lines of the verdict that are not about collapse; of an unfinished run only the loss."""
  lines = verdict.loss(logged)
  part = next((name for name in PARTS if name in config), PARTS[0])
  rows = final_results(workdir)
  if rows:
    lines += verdict.comparison(config, rows)
    lines += [('next', command) for command in verdict.commands(workdir, config, part)[1:]]  # without this report
  return lines


def times(events: Sequence[Mapping[str, Any]]) -> Time:
  """Adds up the seconds of all starts; each start's are those of its last record that has them."""
  starts: list[list[Mapping[str, Any]]] = []
  for event in events:
    if event['event'] == 'start':
      starts.append([])
    if starts:
      starts[-1].append(event)
  seconds: dict[str, float] = {}
  for start in starts:
    for phase, value in next((event['seconds'] for event in reversed(start) if 'seconds' in event), {}).items():
      seconds[phase] = seconds.get(phase, 0.0) + value
  began = [event for event in events if event['event'] == 'began']
  return Time(seconds=seconds, lost_steps=sum(event['lost_steps'] for event in began),
              lost_seconds=sum(event['lost_seconds'] for event in began),
              unknown=sum(all(event['event'] != 'end' for event in start) for start in starts[:-1]))


def from_packaged(
  config: Mapping[str, Any], starts: Sequence[Mapping[str, Any]]
) -> tuple[str, dict[str, tuple[str, str]]]:
  """The packaged config that a run was started with by name, and the fields in which the run differs.

  Files that users name are not compared: they are programs, and reading a report must not run them.
  """
  name = _config_named(starts[0]['command']) if starts else ''
  if not config or name.partition(':')[0] not in config_file.names():
    return '', {}
  try:
    packaged = config_file.load(name).to_dict()
  except ConfigError:  # such as a variant that this version no longer has
    return '', {}
  shown = lambda value: value if value == ABSENT else repr(value)  # noqa: E731
  changed = diff(_plain(packaged), _plain(config))
  return name, {field: (shown(before), shown(after)) for field, (before, after) in sorted(changed.items())}


def differing(runs: Sequence[Facts]) -> list[str]:
  """The fields of the config in which runs differ."""
  fields = dict.fromkeys(field for run in runs for field in run.config)
  return [field for field in fields if len({run.config.get(field, NOTHING) for run in runs if run.config}) > 1]


def _config_named(command: Sequence[str]) -> str:
  """The value of --config in a command line; '' if it has none."""
  for argument, following in zip(command, [*command[1:], ''], strict=True):
    if match := re.fullmatch(r'--?config(?:=(.*))?', argument):
      return following if match[1] is None else match[1]
  return ''


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
  return flatten_dict(dict(config), sep='.')


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
  return json.loads(json.dumps(config))
