"""The training step of a run and the layout of its state on the devices, before anything is computed."""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from maskrep.compiled_for import platform
from maskrep.devices.mesh import batch_sharding, state_sharding
from maskrep.train import schedules
from maskrep.train.optim import Optim
from maskrep.train.schedules import Schedule
from maskrep.train.step import init_state, make_step
from maskrep.types import Objective, TrainState

# XLA merges products that share an operand, such as those of views of two lengths, and copies their inputs for it.
COMPILER_OPTIONS = {'gpu': {'xla_gpu_dot_merger_threshold_mb': 0}}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
  """The program that the train loop runs and a dry run analyses.

  Attributes:
    reads: the fields of a batch.
    total_steps, warmup_steps: lengths of the run and of its warm-up.
    schedules: step -> value, by name.
    state: shapes, dtypes and shardings of the training state.
    frozen: shapes, dtypes and shardings of the weights that the loss reads and no step changes; None if there are none.
    init: makes the initial state, with the shardings of `state`.
    step: (state, batch, frozen) -> (state, metrics), jitted; the state is donated.
  """

  mesh: Mesh
  batch_size: int
  reads: tuple[str, ...]
  total_steps: int
  warmup_steps: int
  schedules: dict[str, Schedule]
  state: TrainState
  frozen: Any
  init: Callable[[], TrainState]
  step: Callable

  def batch(self, canvas: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes, dtypes and shardings of a batch; see types.py."""
    sharding = batch_sharding(self.mesh)

    def spec(dtype, *shape):
      return jax.ShapeDtypeStruct((self.batch_size, *shape), dtype, sharding=sharding)

    fields = {'image': spec(jnp.uint8, canvas, canvas, 3), 'size': spec(jnp.int32, 2), 'position': spec(jnp.uint32),
              'label': spec(jnp.int32), 'label_map': spec(jnp.uint8, canvas, canvas)}
    return {name: fields[name] for name in self.reads}

  def trace(self, canvas: int) -> jax.stages.Traced:
    """The step for canvases of `canvas` x `canvas` pixels, traced but not compiled."""
    return self.step.trace(self.state, self.batch(canvas), self.frozen)

  def lower(self, canvas: int) -> jax.stages.Lowered:
    """`trace`, lowered for the devices of this process."""
    return self.trace(canvas).lower()


def make_program(
  objective: Objective, optim: Optim, *, epochs: float, examples: int, batch_size: int, seed: int, mesh: Mesh,
  freeze_encoder_steps: int = 0,
) -> Program:
  """The program of a run of `epochs` over N `examples`."""
  total_steps = max(schedules.epochs_to_steps(epochs, examples, batch_size), 1)
  warmup_steps = schedules.epochs_to_steps(optim.warmup_epochs, examples, batch_size)
  values = optim.schedules(total_steps=total_steps, warmup_steps=warmup_steps)
  initial = jax.jit(objective.init)  # so that all that follows shares one trace of it
  rules = objective.rules(initial.eval_shape(jax.random.key(0))[0])
  optimizer = optim.optimizer(values, rules)

  def init() -> TrainState:
    return init_state(initial, optimizer, seed)

  shapes = jax.eval_shape(init)
  sharding = state_sharding(mesh, shapes)
  state = jax.tree.map(
    lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), shapes, sharding)
  replicated = NamedSharding(mesh, PartitionSpec())
  frozen = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated),
                        objective.frozen.shapes if objective.frozen else None)
  gather = functools.partial(jax.lax.with_sharding_constraint, shardings=replicated)
  step = jax.jit(
    make_step(objective, optimizer, values['ema_momentum'], seed, rules, gather, freeze_encoder_steps),
    donate_argnums=0, in_shardings=(sharding, batch_sharding(mesh), replicated), out_shardings=(sharding, None),
    compiler_options=COMPILER_OPTIONS.get(platform()))
  return Program(
    mesh=mesh, batch_size=batch_size, reads=objective.reads, total_steps=total_steps,
    warmup_steps=warmup_steps, schedules=values, state=state, frozen=frozen, init=jax.jit(init, out_shardings=sharding),
    step=step)
