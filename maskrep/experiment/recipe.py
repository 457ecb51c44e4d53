"""The section `optim` of a config: the optimiser, and the first step of its schedules."""

import dataclasses
from typing import Annotated

import jax.numpy as jnp

from maskrep.schema import OneOf
from maskrep.train.optim import Optim
from maskrep.train.schedules import Schedule


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe(Optim):
  """`Optim`, with the index of the first step in its schedules.

  Attributes:
    first_step: 0; or 1, as in the MSN authors' code, which advances learning rate and weight decay before each step and
      the EMA momentum after it: the first step then has their values of step 1, and the momentum of step 0.
  """

  first_step: Annotated[int, OneOf((0, 1))] = 0

  def schedules(self, *, total_steps: int, warmup_steps: int) -> dict[str, Schedule]:
    values = super().schedules(total_steps=total_steps, warmup_steps=warmup_steps)
    moved = {name: _later(values[name], self.first_step) for name in ('learning_rate', 'weight_decay')}
    return values | moved


def _later(schedule: Schedule, steps: int) -> Schedule:
  return lambda step: schedule(jnp.asarray(step) + steps)
