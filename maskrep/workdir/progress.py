"""The progress of the run in a workdir, from its files alone."""

from pathlib import Path
import re

from maskrep.workdir.bucket import COMMITTED, in_bucket
from maskrep.workdir.files import read_json
from maskrep.workdir.mount import on_fuse

STEP = re.compile('[0-9]+')  # the name of the folder of a step
CORRUPT = 'corrupt'  # the folder of checkpoints that were set aside


def resumes(workdir: Path) -> bool:
  """True if the workdir holds a complete checkpoint."""
  steps = [path for path in (workdir / 'checkpoints').glob('*') if path.is_dir() and STEP.fullmatch(path.name)]
  marked = in_bucket(workdir) or on_fuse(workdir)
  return any((path / COMMITTED).exists() for path in steps) if marked else bool(steps)


def has_progress(workdir: Path) -> bool:
  """True if there is progress that another config or other data would lose or contradict.

  That is a checkpoint, one that was set aside as damaged, or a finished run, whose checkpoints may be removed.
  """
  return resumes(workdir) or any((workdir / CORRUPT).glob('*')) or finished(workdir)


def finished(workdir: Path) -> bool:
  """True if a run in this workdir has come to its end."""
  events, _ = read_json(workdir / 'events.jsonl')
  return any(event.get('event') == 'end' and event.get('reason') == 'finished' for event in events)
