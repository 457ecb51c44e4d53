"""Progress of a run: a progress bar, metrics on disk, a warning of collapse, and the error of a run that diverged."""

import logging
from pathlib import Path
import sys

import jax
from tqdm import tqdm

from maskrep.data.loader import Loader
from maskrep.errors import NonFiniteError
from maskrep.train.clock import Clock
from maskrep.train.program import Program
from maskrep.train.track import Track
from maskrep.workdir.events import record_event

MAX_SKIPPED_IN_A_ROW, MAX_SKIPPED = 3, 10  # updates that were infinite or NaN
COLLAPSED, COLLAPSED_STEPS = 0.01, 50  # feature_std, 0 if all images share one direction; steps in a row
NAMED = 8  # examples in the error of a run that diverged

log = logging.getLogger(__name__)


class Progress:
  """Follows a run step by step. Use as a context manager; only process 0 shows and writes."""

  def __init__(
    self, workdir: Path, program: Program, loader: Loader, clock: Clock, *, start: int, log_every_steps: int,
    work: tuple[float, float] | None = None, track: Track | None = None,
  ):
    """`work`: operations of a step on one device, and how many it can do per second, for the log."""
    self._workdir, self._program, self._loader, self._clock = workdir, program, loader, clock
    self._start, self._every, self._work = start, log_every_steps, work
    self._track = track
    writes = jax.process_index() == 0
    if writes:
      # Imported here: tensorboardX imports PyTorch if it is installed, which takes seconds, and only training needs it.
      from maskrep.train.metrics import MetricWriter
    self._metrics = MetricWriter(workdir, start) if writes else None
    # In a file, one line per 10 s is enough.
    self._bar = tqdm(initial=start, total=program.total_steps, unit='step', dynamic_ncols=True, file=sys.stderr,
                     disable=not writes, mininterval=0.1 if sys.stderr.isatty() else 10)
    self._pending: list[tuple[int, dict, int]] = []  # the last step, until it is flushed
    self._collapsed, self._steps, self._broken = 0, 0, 0
    self._before = clock.seconds()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._bar.close()
    self.write()

  def write(self) -> None:
    """Writes the metrics that are buffered, if the workdir is in a bucket."""
    if self._metrics:
      self._metrics.flush()

  def update(self, step: int, metrics: dict, broken: int) -> None:
    """Adds a dispatched step, whose metrics may not be computed yet, and flushes the one before it."""
    if self._pending:
      self.flush({})
    self._pending.append((step, metrics, broken))

  def flush(self, evaluated: dict[str, float]) -> None:
    """Fetches the metrics of the last step, and writes them if they are due or the step was `evaluated`.

    Raises:
      NonFiniteError: too many updates were skipped.
    """
    step, metrics, broken = self._pending.pop()
    metrics = {name: float(value) for name, value in jax.device_get(metrics).items()}
    self._steps, self._broken = self._steps + 1, self._broken + broken
    self._bar.set_postfix_str(f'loss={metrics["loss"]:.4f}, {self._speed()[0]:.0f} images/s', refresh=False)
    self._bar.update()
    self._check(step, metrics)
    if self._metrics and (evaluated or step % self._every == 0):
      scheduled = {name: float(value(step - 1)) for name, value in self._program.schedules.items()}
      record = metrics | scheduled | self._next_interval() | evaluated
      self._metrics.write(step, record)
      if self._track:
        self._track(step, record)
    if self._metrics and step == self._start + 1:
      record_event(self._workdir, 'began', step=step, lost_steps=self._metrics.lost_steps,
                   lost_seconds=self._metrics.lost_seconds, seconds=self._clock.seconds())

  def _check(self, step: int, metrics: dict[str, float]) -> None:
    in_a_row, in_all = int(metrics['skipped_in_a_row']), int(metrics['skipped_updates'])
    if in_a_row >= MAX_SKIPPED_IN_A_ROW or (in_a_row and in_all >= MAX_SKIPPED):
      terms = ', '.join(f'{name}={value:g}' for name, value in sorted(metrics.items()))
      size = self._program.batch_size
      more = f' and {size - NAMED} more' if size > NAMED else ''
      raise NonFiniteError(
        f'step {step}: {in_a_row} updates in a row and {in_all} in total were infinite or NaN, and skipped ({terms}); '
        'lower config.optim.learning_rate or check the examples of this step: '
        f'{", ".join(self._loader.names(step - 1, NAMED))}{more}')
    self._collapsed = self._collapsed + 1 if metrics.get('feature_std', 1) < COLLAPSED else 0
    if self._collapsed == COLLAPSED_STEPS:
      log.warning('step %d: collapsed: feature_std was below %g for %d steps, so all images look the same to the '
                  'encoder; see the metrics', step, COLLAPSED, COLLAPSED_STEPS)

  def _speed(self) -> tuple[float, float]:
    """(images/s, share of time spent waiting for data) since the last record, without evaluation and saving."""
    now = self._clock.seconds()
    step, data = (now.get(phase, 0) - self._before.get(phase, 0) for phase in ('step', 'data'))
    return self._steps * self._program.batch_size / (step + data), data / (step + data)

  def _next_interval(self) -> dict[str, float]:
    """Returns the throughput since the last record, and starts the next interval."""
    rate, wait = self._speed()
    record = {'images_per_second': rate, 'data_wait_share': wait, 'broken_images': float(self._broken),
              'seconds': sum(self._clock.seconds().values()) - sum(self._before.values())}
    if self._work:
      flops, peak = self._work
      speed = flops * rate / self._program.batch_size
      record |= {'tflops_per_device': speed / 1e12, 'share_of_peak': speed / peak}
    self._before, self._steps, self._broken = self._clock.seconds(), 0, 0
    return record
