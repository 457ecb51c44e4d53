"""A trace of some steps by jax.profiler: where they spend their time, on the host and on the devices."""

from pathlib import Path

import jax


class Trace:
  """Records steps `first` to `last` into `folder`, which xprof and TensorBoard open. Use as a context manager."""

  def __init__(self, folder: Path, steps: tuple[int, int] | None):
    self._folder, self._steps, self._under_way = folder, steps or (0, 0), False

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
