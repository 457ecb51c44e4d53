"""The train loop: the only one in the repo. Restores, steps, logs, evaluates, saves."""

from collections import deque
from collections.abc import Callable, Generator
import contextlib
import dataclasses
import functools
import itertools
from pathlib import Path
from typing import Any, NoReturn

import jax
from jax.sharding import Mesh

from maskrep.data.loader import Loader
from maskrep.devices.mesh import global_batch
from maskrep.devices.topology import peak_flops
from maskrep.errors import Preempted
from maskrep.process.working import working
from maskrep.schema import Count, LocalPath, NonNegativeInt, Positive, check
from maskrep.train import cost
from maskrep.train.clock import Clock
from maskrep.train.program import Program
from maskrep.train.progress import Progress
from maskrep.train.stop import Stop
from maskrep.train.trace import Trace
from maskrep.train.track import Track
from maskrep.train.watchdog import Watchdog
from maskrep.types import Batch, TrainState
from maskrep.workdir.checkpoint import Checkpoints
from maskrep.workdir.events import record_event

IN_FLIGHT = 2  # batches being transferred to the devices


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
  """Length of a run, its use of memory, and how often it logs and saves.

  Attributes:
    epochs: passes over the training split.
    init_from: workdir of a run, or folder of an import, whose encoder a new run starts with; '' for none.
    freeze_encoder_steps: number of steps at the start in which that encoder is not updated.
    microbatch: images of the global batch that the encoder processes at once; 0 is all. In a config -1 is the largest
      that fits the devices, searched at the start of a run by compiling.
    fsdp: devices over which parameters, EMA and optimiser state are sharded; 1 replicates them.
    log_every_steps: steps between two lines of metrics.
    checkpoint_every_steps: steps between two checkpoints.
    keep_checkpoints: number of checkpoints that are kept, the newest.
  """

  epochs: Positive
  init_from: LocalPath
  freeze_encoder_steps: NonNegativeInt
  microbatch: NonNegativeInt
  fsdp: Count
  log_every_steps: Count
  checkpoint_every_steps: Count
  keep_checkpoints: Count

  def __post_init__(self):
    check(self)
    if self.freeze_encoder_steps and not self.init_from:
      raise ValueError(f'freeze_encoder_steps={self.freeze_encoder_steps}: must be 0 without init_from')


def run(
  program: Program, loader: Loader, train: Train, *, workdir: Path, clock: Clock,
  evaluate: Callable[[TrainState], dict[str, float]], evaluate_every_steps: int, frozen: Any,
  warm_start: Callable[[TrainState], TrainState], profile_steps: tuple[int, int] | None = None,
  track: Track | None = None,
) -> TrainState:
  """Trains to the last step, from the newest complete checkpoint if there is one; returns the final state.

  `frozen` holds the weights that the loss reads and no step changes; `warm_start` changes the state of a new run;
  of the first to the last of `profile_steps` a trace is recorded into `workdir`/profile; `track` sends the
  metrics to a tracker.

  Raises:
    Preempted: a signal arrived; everything is saved.
    NonFiniteError: too many updates were infinite or NaN.
    DataError: too many images cannot be read.
    CheckpointError: no checkpoint can be read, or none can be written.
  """
  with Stop() as stop, Checkpoints(workdir, train.keep_checkpoints) as checkpoints:
    with clock.phase('restore'):
      state = checkpoints.restore(program.state) or warm_start(program.init())
      start = int(state.step)
    with clock.phase('compile'), working('compiling the training step', aloud=jax.process_index() == 0):
      step_fn = program.lower(loader.canvas).compile()
    if jax.process_index() == 0 and (memory := cost.memory(step_fn)):
      record_event(workdir, 'compiled', memory_bytes=sum(memory))
    frozen = jax.device_put(frozen, jax.tree.map(lambda leaf: leaf.sharding, program.frozen))
    work = _work(program, loader.canvas)
    with (Progress(workdir, program, loader, clock, start=start, log_every_steps=train.log_every_steps,
                   work=work, track=track) as progress,
          Trace(workdir / 'profile', profile_steps, start=start, total=program.total_steps) as trace,
          Watchdog() as watchdog,
          contextlib.closing(_on_device(loader, start, program.total_steps, program.mesh)) as batches):
      leave = functools.partial(_leave, progress, checkpoints, clock)
      stop.begin()
      for step in range(start + 1, program.total_steps + 1):
        trace.before(step)
        with clock.phase('data'):
          batch, broken = next(batches)
        with clock.phase('step'), watchdog.step(step), jax.profiler.StepTraceAnnotation('step', step_num=step):
          state, metrics = step_fn(state, batch, frozen)
          # Reads the metrics of step t - 1 after step t is dispatched: the device never waits for the log.
          progress.update(step, metrics, broken)
          trace.after(step, metrics)
        last = step == program.total_steps
        if signal := '' if last else stop.received(step):
          leave(state, step, signal)
        evaluates = last or step % evaluate_every_steps == 0
        saves = last or step % train.checkpoint_every_steps == 0
        if evaluates or saves or step == start + 1:
          with clock.phase('step'), watchdog.step(step):
            jax.block_until_ready(metrics)
          with clock.phase('evaluate'), stop.saving(functools.partial(leave, state, step)):
            evaluated = evaluate(state) if evaluates else {}
          # Written before the checkpoint: a run resumed from it does not compute this step again.
          progress.flush(evaluated)
          progress.write()
        if saves:
          with clock.phase('save'):
            checkpoints.save(state, step)
  # A run without steps left has not measured the memory of a step.
  if jax.process_index() == 0 and start < program.total_steps and (peak := cost.peak_bytes()):
    record_event(workdir, 'trained', peak_bytes=peak)
  return state


def _work(program: Program, canvas: int) -> tuple[float, float] | None:
  """Operations of a step on one device, and how many it can do per second; None if that is not known."""
  if (peak := peak_flops(jax.local_devices()[0].device_kind)) is None:
    return None
  return cost.matmul_flops(program.trace(canvas)) / program.mesh.size, peak


def _leave(
  progress: Progress, checkpoints: Checkpoints, clock: Clock, state: TrainState, step: int, signal: str
) -> NoReturn:
  with clock.phase('step'):
    progress.flush({})
    progress.write()
  with clock.phase('save'):
    checkpoints.save(state, step)
    checkpoints.finish()
  raise Preempted(f'stopped by {signal} after step {step}, which is saved; run the same command to resume')


def _on_device(loader: Loader, start: int, stop: int, mesh: Mesh) -> Generator[tuple[Batch, int]]:
  """(global batch on the devices, broken images in it) for steps start ... stop - 1, `IN_FLIGHT` ahead."""
  queue = deque()
  with contextlib.closing(loader.iterate(start)) as host_batches:
    for local in itertools.islice(host_batches, stop - start):
      broken = int(local.pop('broken').sum())
      queue.append((global_batch(mesh, local), broken))
      if len(queue) == IN_FLIGHT:
        yield queue.popleft()
    yield from queue
