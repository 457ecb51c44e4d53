"""What a person and the metrics are told about speed: the live bar, images/s, share of time spent waiting for data."""

from collections.abc import Iterator
import contextlib
import sys
import time

from tqdm import tqdm


class Progress:
  """Counts since the last `take`; `step` and `loss` go to the bar as each step ends."""

  def __init__(self, start: int, total: int, batch_size: int, shown: bool):
    # Where the output is a file, a line every 10 s is enough.
    self._bar = tqdm(initial=start, total=total, unit='step', dynamic_ncols=True, file=sys.stderr, disable=not shown,
                     mininterval=0.1 if sys.stderr.isatty() else 10)
    self._batch_size = batch_size
    self.restart()

  def restart(self) -> None:
    self._since, self._waited, self._steps, self._broken = time.perf_counter(), 0.0, 0, 0

  @contextlib.contextmanager
  def paused(self):
    """Time that is not the step's: evaluating, saving."""
    before = time.perf_counter()
    yield
    self._since += time.perf_counter() - before

  def next(self, batches: Iterator):
    """The next (batch, broken images in it), timed."""
    before = time.perf_counter()
    batch, broken = next(batches)
    self._waited += time.perf_counter() - before
    self._broken += broken
    return batch

  def step(self, loss: float) -> None:
    self._steps += 1
    rate = self._steps * self._batch_size / (time.perf_counter() - self._since)
    self._bar.set_postfix_str(f'loss={loss:.4f}, {rate:.0f} images/s', refresh=False)
    self._bar.update()

  def take(self) -> dict[str, float]:
    seconds = time.perf_counter() - self._since
    record = {'images_per_second': self._steps * self._batch_size / seconds, 'data_wait_share': self._waited / seconds,
              'broken_images': float(self._broken)}
    self.restart()
    return record

  def close(self) -> None:
    self._bar.close()
