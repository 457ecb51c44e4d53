"""Wall time of a run by phase: every second belongs to one phase, so the phases sum to the whole."""

from collections import defaultdict
from collections.abc import Iterator
import contextlib
import time


class Clock:
  """Seconds since `started`, a time.monotonic(), by phase: 'start' before the first phase, 'other' between phases."""

  def __init__(self, started: float):
    self._spent = defaultdict(float)
    self._phase, self._since = 'start', started

  @contextlib.contextmanager
  def phase(self, name: str) -> Iterator[None]:
    """Attributes the time inside the block to `name`; with nested phases, to the inner one."""
    outer = 'other' if self._phase == 'start' else self._phase
    self._enter(name)
    try:
      yield
    finally:
      self._enter(outer)

  def seconds(self) -> dict[str, float]:
    self._enter(self._phase)
    return dict(self._spent)

  def _enter(self, phase: str) -> None:
    now = time.monotonic()
    self._spent[self._phase] += now - self._since
    self._phase, self._since = phase, now
