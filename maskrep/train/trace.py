"""A trace of some steps by jax.profiler: where they spend their time, on the host and on the devices."""

import logging
from pathlib import Path

import jax

log = logging.getLogger(__name__)


class Trace:
  """Records some steps, from the first to the last, into `folder`, which xprof and TensorBoard open.

  Use as a context manager. `steps` that this start of the run, from `start` + 1 to `total`, does not have are not
  recorded, with a warning: a run that is resumed by the same command may have done them before.
  """

  def __init__(self, folder: Path, steps: tuple[int, int] | None, *, start: int, total: int):
    self._folder, self._steps, self._under_way = folder, steps or (0, 0), False
    if steps and not start < steps[0] <= steps[1] <= total:
      log.warning('--profile_steps=%d:%d: not all of them are among the steps of this start, %d to %d; no trace is '
                  'recorded', *steps, start + 1, total)
      self._steps = 0, 0

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._stop()

  def before(self, step: int) -> None:
    """Begins, if this is the first step."""
    if step == self._steps[0]:
      jax.profiler.start_trace(str(self._folder))
      self._under_way = True

  def after(self, step: int, metrics: dict[str, jax.Array]) -> None:
    """Ends once the last step is computed."""
    if self._under_way and step == self._steps[1]:
      jax.block_until_ready(metrics)
      self._stop()

  def _stop(self) -> None:
    if self._under_way:
      self._under_way = False
      jax.profiler.stop_trace()
