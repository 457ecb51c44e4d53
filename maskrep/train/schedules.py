"""Schedules: functions step -> float32 scalar; and epochs converted to steps."""

from collections.abc import Callable, Sequence
from typing import cast

import jax.numpy as jnp
from jax.typing import ArrayLike
import optax

from maskrep.types import Array

Schedule = Callable[[ArrayLike], Array]  # optax declares ArrayLike as the result too


def epochs_to_steps(epochs: float, examples: int, batch_size: int) -> int:
  """The number of steps in `epochs` epochs, rounded to the nearest; the stream has no gaps between epochs."""
  return round(epochs * examples / batch_size)


def linear(start: float, end: float, steps: int) -> Schedule:
  """A straight line from `start` at step 0 to `end` at `steps`, constant after it."""
  return cast(Schedule, optax.linear_schedule(start, end, steps))


def cosine(start: float, end: float, steps: int) -> Schedule:
  """A half-cosine from `start` at step 0 to `end` at `steps`, in either direction, constant after it."""

  def schedule(step):
    progress = jnp.clip(jnp.asarray(step, jnp.float32) / max(steps, 1), 0.0, 1.0)
    return end + (start - end) * 0.5 * (1.0 + jnp.cos(jnp.pi * progress))

  return schedule


def drops(start: float, factor: float, at: Sequence[int]) -> Schedule:
  """`start`, multiplied by `factor` from each of the steps `at` on."""
  return lambda step: start * factor ** jnp.sum(jnp.asarray(step) >= jnp.array(at), dtype=jnp.float32)


def later(schedule: Schedule, steps: int) -> Schedule:
  """The schedule with the value of step t + `steps` at step t."""
  return lambda step: schedule(jnp.asarray(step) + steps)


def warmup_cosine(start: float, peak: float, end: float, warmup_steps: int, total_steps: int) -> Schedule:
  """A line from `start` to `peak` over the warm-up, then a half-cosine to `end` at `total_steps`."""
  decay = cosine(peak, end, total_steps - warmup_steps)
  return cast(Schedule, optax.join_schedules([linear(start, peak, warmup_steps), decay], [warmup_steps]))
