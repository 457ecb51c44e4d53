"""The train loop: the only one in the repo. Restores, steps, logs, evaluates, saves."""

from collections import deque
from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import itertools
from pathlib import Path

import jax
from jax.sharding import Mesh

from maskrep import schedules
from maskrep.checkpoint import Checkpoints, abstract
from maskrep.data.loader import Loader
from maskrep.errors import NonFiniteError, Preempted
from maskrep.mesh import batch_sharding, global_batch, state_sharding
from maskrep.train.metrics import MetricWriter
from maskrep.train.optim import Optim
from maskrep.train.progress import Progress
from maskrep.train.step import init_state, make_step
from maskrep.train.stop import Stop
from maskrep.types import Batch, Objective, TrainState

IN_FLIGHT = 2  # batches on their way to the devices
MAX_SKIPPED_IN_A_ROW, MAX_SKIPPED = 3, 10  # updates that were not finite


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
  """How long a run is, how much of it is in memory at once, and how often it logs and saves."""

  epochs: float
  microbatch: int  # images of the global batch that the encoder sees at once; 0 is all
  log_every_steps: int
  checkpoint_every_steps: int
  keep_checkpoints: int

  def __post_init__(self):
    if not 0 < self.epochs < float('inf'):
      raise ValueError(f'epochs={self.epochs}: must be finite and above 0')
    for field in ('log_every_steps', 'checkpoint_every_steps', 'keep_checkpoints'):
      if getattr(self, field) < 1:
        raise ValueError(f'{field}={getattr(self, field)}: must be at least 1')


def run(
  objective: Objective, loader: Loader, optim: Optim, train: Train, *, seed: int, mesh: Mesh, workdir: Path,
  evaluate: Callable[[TrainState], dict[str, float]], evaluate_every_steps: int,
) -> TrainState:
  """Trains to the last step, from the newest whole checkpoint where there is one; returns the final state.

  Raises:
    Preempted: a signal asked to stop; everything is saved.
    NonFiniteError: too many updates were not finite.
    DataError: too many images cannot be read.
    CheckpointError: no checkpoint can be read, or none can be written.
  """
  examples, batch_size = len(loader.source), loader.batch_size
  total_steps = max(schedules.epochs_to_steps(train.epochs, examples, batch_size), 1)
  values = optim.schedules(
    total_steps=total_steps, warmup_steps=schedules.epochs_to_steps(optim.warmup_epochs, examples, batch_size))
  optimizer = optim.optimizer(values)

  def fresh() -> TrainState:
    return init_state(objective, optimizer, seed)

  template = abstract(fresh, lambda shapes: state_sharding(mesh, shapes))
  sharding = jax.tree.map(lambda leaf: leaf.sharding, template)
  step_fn = jax.jit(
    make_step(objective, optimizer, values['ema_momentum'], seed), donate_argnums=0,
    in_shardings=(sharding, batch_sharding(mesh)), out_shardings=(sharding, None))

  with Checkpoints(workdir, train.keep_checkpoints) as checkpoints, Stop() as stop:
    state = checkpoints.restore(template) or jax.jit(fresh, out_shardings=sharding)()
    start = int(state.step)
    writes = jax.process_index() == 0
    progress = Progress(start, total_steps, batch_size, shown=writes)
    writer = MetricWriter(workdir, start) if writes else None

    def settle(step: int, metrics: dict, found: dict[str, float]) -> None:
      """Fetches what a step measured, and writes it down where it is time."""
      progress.step(float(metrics['loss']))
      if metrics['skipped_in_a_row'] >= MAX_SKIPPED_IN_A_ROW or (
          metrics['skipped_in_a_row'] and metrics['skipped_updates'] >= MAX_SKIPPED):
        terms = ', '.join(f'{name}={float(value):g}' for name, value in sorted(metrics.items()))
        raise NonFiniteError(
          f'step {step}: {int(metrics["skipped_in_a_row"])} updates in a row and {int(metrics["skipped_updates"])} in '
          f'all were not finite and were skipped ({terms}); lower config.optim.learning_rate or look at the examples '
          f'of this step: {", ".join(loader.names(step - 1))}')
      if writer and (found or step % train.log_every_steps == 0):
        scheduled = {name: float(value(step - 1)) for name, value in values.items()}
        writer.write(step, jax.tree.map(float, metrics) | scheduled | progress.take() | found)

    batches = _on_device(loader, start, total_steps, mesh)
    pending = None
    for step in range(start + 1, total_steps + 1):
      state, metrics = step_fn(state, progress.next(batches))
      # Step t - 1 is read after step t is dispatched: the device never waits for the log.
      if pending:
        settle(*pending)
      last = step == total_steps
      with progress.paused():
        found = evaluate(state) if last or step % evaluate_every_steps == 0 else {}
      pending = step, metrics, found
      signal = '' if last else stop.asked(step)
      if last or signal or step % train.checkpoint_every_steps == 0:
        # Written before the checkpoint is: a run that resumes from it does not compute this step again.
        settle(*pending)
        pending = None
        with progress.paused():
          checkpoints.save(state, step)
      if signal:
        checkpoints.finish()
        progress.close()
        raise Preempted(f'stopped by {signal} after step {step}, which is saved; run the same command to go on')
    progress.close()
    if writer:
      writer.close()
  return state


def _on_device(loader: Loader, start: int, stop: int, mesh: Mesh) -> Iterator[tuple[Batch, int]]:
  """(global batch on the devices, broken images in it) for steps start ... stop - 1, `IN_FLIGHT` ahead."""
  queue = deque()
  with contextlib.closing(loader.iterate(start)) as host_batches:
    for local in itertools.islice(host_batches, stop - start):
      broken = int(local.pop('broken').sum())
      queue.append((global_batch(mesh, local), broken))
      if len(queue) == IN_FLIGHT:
        yield queue.popleft()
    yield from queue
