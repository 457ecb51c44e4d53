"""The section `optim` of a config: the optimiser, and the step that its schedules begin with."""

import dataclasses
from typing import Annotated

import jax.numpy as jnp

from maskrep.schema import OneOf
from maskrep.train.optim import Optim
from maskrep.train.schedules import Schedule


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe(Optim):
  """`Optim`, with the number of the first step in its schedules.

  Attributes:
    first_step: 0; or 1, as in the MSN authors' code, which moves learning rate and weight decay before each step, and
      the momentum of the EMA after it: the first step then has the values of step 1, its momentum that of step 0.
  """

  first_step: Annotated[int, OneOf((0, 1))] = 0

  def schedules(self, *, total_steps: int, warmup_steps: int) -> dict[str, Schedule]:
    values = super().schedules(total_steps=total_steps, warmup_steps=warmup_steps)
    moved = {name: _later(values[name], self.first_step) for name in ('learning_rate', 'weight_decay')}
    return values | moved


def _later(schedule: Schedule, steps: int) -> Schedule:
  return lambda step: schedule(jnp.asarray(step) + steps)
