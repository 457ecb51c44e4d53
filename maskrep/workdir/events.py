"""events.jsonl: the start and the end of each run, and events in between."""

from collections.abc import Callable, Iterator
import contextlib
import logging
import os
from pathlib import Path
import time

from maskrep.process import signals
from maskrep.workdir.files import append_json
from maskrep.workdir.folder import Place, not_written

log = logging.getLogger(__name__)


@contextlib.contextmanager
def recorded(workdir: Path, seconds: Callable[[], dict[str, float]]) -> Iterator[Callable[[str, int], None]]:
  """Appends the start of a run to events.jsonl, and its end, with the `seconds` of its phases.

  Yields a function that records, by reason and exit code, that the process is ended from outside.

  Raises:
    CheckpointError: replaces an OSError: the workdir is full, gone, replaced or read-only.
  """
  place = Place(workdir)

  def record_end(reason: str, code: int) -> None:
    if place.lost():
      return  # the file there now is that of another run
    try:
      record_event(workdir, 'end', reason=reason, exit_code=code, seconds=seconds())
    except OSError as failed:  # the error that ended the run says more
      log.warning('%s: the end of the run could not be recorded (%s)', workdir, failed)

  def record_error(error: BaseException | None) -> None:
    code = getattr(error, 'exit_code', 1) if error else 0
    record_end(f'{type(error).__name__}: {error}' if error else 'finished', code)

  record_event(workdir, 'start', process=os.getpid())
  error = None
  try:
    with signals.last_act(record_error):
      yield record_end
  except OSError as failed:
    error = place.lost() or not_written(workdir, failed)
    raise error from failed
  except BaseException as failed:
    error = failed
    raise
  finally:
    record_error(error)


def record_event(workdir: Path, event: str, **fields) -> None:
  append_json(workdir / 'events.jsonl', {'time': now(), 'event': event} | fields)


def now() -> str:
  return time.strftime('%Y-%m-%dT%H:%M:%S%z')
