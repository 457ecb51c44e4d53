"""One training step: gradient, optimiser, EMA. Frozen parameters are unchanged, and non-finite updates are skipped."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from maskrep import rng
from maskrep.train.schedules import Schedule
from maskrep.types import Array, Batch, Objective, Params, TrainState


def init_state(
  init: Callable[[Array], tuple[Params, Any]], optimizer: optax.GradientTransformation, seed: int,
) -> TrainState:
  """The state before the first step, with the weights of `Objective.init`; the teacher is a copy of the student."""
  params, model_state = init(rng.stream(seed, 'init'))
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    ema_params=jax.tree.map(jnp.copy, params),
    model_state=model_state,
    opt_state=optimizer.init(params),
    skipped=jnp.zeros(2, jnp.int32),
  )


def make_step(
  objective: Objective, optimizer: optax.GradientTransformation, ema_momentum: Schedule, seed: int,
  rules: Any, gather: Callable[[Params], Params] = lambda params: params, freeze_encoder_steps: int = 0,
) -> Callable[[TrainState, Batch, Any], tuple[TrainState, dict[str, Array]]]:
  """Returns the pure function (state, batch, frozen) -> (state, metrics), to be jitted by the caller.

  `gather` replicates parameters that are sharded over devices; without it the partitioner would move activations.
  If the loss, or anything that the update would write, is infinite or NaN, only the counts of the state change.

  In the first `freeze_encoder_steps` steps neither the encoder nor the teacher's encoder is updated. The optimiser's
  moments still follow its gradients, so that they are warm at the first update: with moments of zero but the count of
  all steps, Adam's first updates would be several times the learning rate. Parameters whose rule has a learning-rate
  scale of 0 are never updated.
  """

  def step(state: TrainState, batch: Batch, frozen: Any = None) -> tuple[TrainState, dict[str, Array]]:
    views = objective.views(rng.stream(seed, 'views'), batch)
    teacher = gather(state.ema_params)

    def loss(params):
      key = jax.random.fold_in(rng.stream(seed, 'loss'), state.step)
      return objective.loss(gather(params), views, key=key, step=state.step, ema_params=teacher,
                            model_state=state.model_state, frozen=frozen)

    (value, aux), gradient = jax.value_and_grad(loss, has_aux=True)(state.params)
    gradient_norm = optax.tree.norm(gradient)
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    momentum = ema_momentum(state.step)
    # The teacher averages the updated parameters.
    ema_params = jax.tree.map(lambda ema, new: momentum * ema + (1 - momentum) * new, state.ema_params, params)
    if freeze_encoder_steps:
      frozen_now = state.step < freeze_encoder_steps
      params, ema_params = (
        jax.tree.map(lambda rule, a, b: jnp.where(frozen_now, a, b) if rule.encoder else b, rules, before, tree)
        for before, tree in ((state.params, params), (state.ema_params, ema_params)))
    # Not left to the EMA: the average of two equal numbers may differ from both in the last bit.
    params, ema_params = (
      jax.tree.map(lambda rule, a, b: b if rule.learning_rate_scale else a, rules, before, tree)
      for before, tree in ((state.params, params), (state.ema_params, ema_params)))
    old = state.params, state.ema_params, state.model_state, state.opt_state
    new = params, ema_params, aux.model_state, opt_state
    # Checks three scalars rather than a thousand leaves, which XLA takes minutes to compile. The norm overflows before
    # Adam's squares do.
    finite = jnp.isfinite(value + gradient_norm + optax.tree.norm((updates, aux.model_state)))
    params, ema_params, model_state, opt_state = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)
    skipped = jnp.where(finite, state.skipped * jnp.array([0, 1]), state.skipped + 1)
    in_a_row, in_all = skipped.astype(jnp.float32)
    metrics = aux.metrics | {'gradient_norm': gradient_norm, 'skipped_in_a_row': in_a_row,
                             'skipped_updates': in_all}
    return TrainState(step=state.step + 1, params=params, ema_params=ema_params, model_state=model_state,
                      opt_state=opt_state, skipped=skipped), metrics

  return step
