"""One update: gradient, optimiser, EMA. Nothing else happens in a step."""

from collections.abc import Callable

import jax
import optax

from maskrep import rng
from maskrep.schedules import Schedule
from maskrep.types import Array, Batch, Objective, TrainState


def init_state(objective: Objective, optimizer: optax.GradientTransformation, seed: int) -> TrainState:
  """The state before the first step; the teacher starts as a copy of the student."""
  params, model_state = objective.init(rng.stream(seed, 'init'))
  return TrainState(
    step=jax.numpy.zeros((), jax.numpy.int32),
    params=params,
    ema_params=jax.tree.map(jax.numpy.copy, params),
    model_state=model_state,
    opt_state=optimizer.init(params),
  )


def make_step(
  objective: Objective, optimizer: optax.GradientTransformation, ema_momentum: Schedule, seed: int
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]:
  """Returns the pure function (state, batch) -> (state, metrics), to be jitted by the caller."""

  def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
    views = objective.views(rng.stream(seed, 'views'), batch)

    def loss(params):
      key = jax.random.fold_in(rng.stream(seed, 'loss'), state.step)
      return objective.loss(params, views, key=key, step=state.step, ema_params=state.ema_params,
                            model_state=state.model_state, frozen=None)

    gradient, aux = jax.grad(loss, has_aux=True)(state.params)
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    momentum = ema_momentum(state.step)
    # The teacher follows the parameters after the update.
    ema_params = jax.tree.map(lambda ema, new: momentum * ema + (1 - momentum) * new, state.ema_params, params)
    metrics = aux.metrics | {'gradient_norm': optax.tree.norm(gradient)}
    return TrainState(step=state.step + 1, params=params, ema_params=ema_params, model_state=aux.model_state,
                      opt_state=opt_state), metrics

  return step
