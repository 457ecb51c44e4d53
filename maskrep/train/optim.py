"""The optimiser and the schedules of a run."""

import dataclasses
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax

from maskrep.errors import ConfigError
from maskrep.schema import NonNegative, OneOf, Positive, Probability, Range, Share, check
from maskrep.train import schedules
from maskrep.train.schedules import Schedule

OPTIMIZERS = 'adamw', 'sgd', 'nesterov', 'lars'
EMA_SCHEDULES = {'linear': schedules.linear, 'cosine': schedules.cosine}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optim:
  """AdamW, SGD with momentum, or LARS, and the schedules of learning rate, weight decay and EMA momentum.

  Attributes:
    optimizer_kind: 'adamw', 'sgd', 'nesterov' (SGD with Nesterov's momentum) or 'lars'.
    warmup_learning_rate, learning_rate, final_learning_rate: linear warm-up from the first to the second, then
      a half-cosine to the third.
    drops, drop_factor: instead of the half-cosine, the learning rate is multiplied by the factor after each of these
      shares of the run; () keeps the half-cosine.
    first_step: the number of the first step in the schedules: 0; or 1, as in the MSN authors' code, which moves
      learning rate and weight decay before each step, and the momentum of the EMA after it: the first step then has
      the values of step 1, its momentum that of step 0.
    warmup_epochs: length of the warm-up; not affected by `schedule_stretch`.
    schedule_stretch: schedules are computed for this many times the steps of the run and cut off at its end (1.25 in
      the MSN authors' code).
    weight_decay, final_weight_decay: a half-cosine between them; decay is decoupled and multiplied by the learning
      rate. With LARS it is part of the gradient that is scaled.
    beta1, beta2: those of Adam; `beta1` is the momentum of the other optimisers.
    clip_norm: largest gradient norm, over the parameters whose rule has `clip`; 0 turns clipping off.
    ema_momentum, final_ema_momentum, ema_schedule: a line ('linear') or half-cosine ('cosine') between the two.
  """

  optimizer_kind: Annotated[str, OneOf(OPTIMIZERS)]
  warmup_learning_rate: NonNegative
  learning_rate: NonNegative
  final_learning_rate: NonNegative
  warmup_epochs: NonNegative
  schedule_stretch: Annotated[float, Range(1)]
  weight_decay: NonNegative
  final_weight_decay: NonNegative
  beta1: Probability
  beta2: Probability
  clip_norm: NonNegative
  ema_momentum: Probability
  final_ema_momentum: Probability
  ema_schedule: Annotated[str, OneOf(EMA_SCHEDULES)]
  first_step: Annotated[int, OneOf((0, 1))] = 0
  drops: tuple[Share, ...] = ()
  drop_factor: Positive = 1.0

  def __post_init__(self):
    check(self)
    if self.drops and (self.warmup_epochs or self.schedule_stretch != 1 or self.drop_factor == 1):
      raise ValueError(f'drops={self.drops}: needs a drop_factor other than 1, warmup_epochs=0 and schedule_stretch=1')

  def refuse_ema(self, reason: str) -> None:
    """Raises ConfigError with `reason` if the EMA momentum is not 0."""
    for field in ('ema_momentum', 'final_ema_momentum'):
      if getattr(self, field):
        raise ConfigError(f'config.optim.{field}={getattr(self, field)}: {reason}')

  def schedules(self, *, total_steps: int, warmup_steps: int) -> dict[str, Schedule]:
    """{'learning_rate', 'weight_decay', 'ema_momentum'}: step -> value."""
    steps = round(self.schedule_stretch * total_steps)
    rate = schedules.warmup_cosine(
      self.warmup_learning_rate, self.learning_rate, self.final_learning_rate, warmup_steps, steps)
    if self.drops:
      rate = schedules.drops(self.learning_rate, self.drop_factor, [round(share * total_steps) for share in self.drops])
    return {
      'learning_rate': schedules.later(rate, self.first_step),
      'weight_decay': schedules.later(
        schedules.cosine(self.weight_decay, self.final_weight_decay, steps), self.first_step),
      'ema_momentum': EMA_SCHEDULES[self.ema_schedule](self.ema_momentum, self.final_ema_momentum, steps),
    }

  def optimizer(self, run_schedules: dict[str, Schedule], rules: Any) -> optax.GradientTransformation:
    """Clipping, Adam or momentum, decoupled decay, learning rate; or clipping and LARS.

    `rules` is a pytree of `Rule`. LARS (arXiv:1708.03888) adapts the parameters that decay, with a trust coefficient of
    0.001, as in SimCLR and BYOL; biases and norms get plain momentum. Each parameter's update is multiplied by its
    learning-rate scale. A parameter with a scale of 0 is not updated: it has no moments, does not decay and does not
    count in the clipped norm.
    """
    scales = jax.tree.map(lambda rule: rule.learning_rate_scale, rules)
    if all(scale == 1 for scale in jax.tree.leaves(scales)):
      return self._optimizer(run_schedules, rules)

    def scale(updates, _):
      return jax.tree.map(lambda s, update: s * update if s else jnp.zeros_like(update), scales, updates)

    return optax.chain(
      optax.masked(self._optimizer(run_schedules, rules), jax.tree.map(bool, scales)), optax.stateless(scale))

  def _optimizer(self, run_schedules: dict[str, Schedule], rules: Any) -> optax.GradientTransformation:
    clipped, decayed = (jax.tree.map(lambda rule, name=name: getattr(rule, name), rules) for name in ('clip', 'decay'))
    clip = optax.masked(optax.clip_by_global_norm(self.clip_norm), clipped) if self.clip_norm else optax.identity()
    if self.optimizer_kind == 'lars':
      return optax.chain(clip, optax.lars(
        run_schedules['learning_rate'], run_schedules['weight_decay'], weight_decay_mask=decayed,
        trust_coefficient=0.001, trust_ratio_mask=decayed, momentum=self.beta1))
    return optax.chain(
      clip,
      (optax.scale_by_adam(self.beta1, self.beta2) if self.optimizer_kind == 'adamw' else
       optax.trace(self.beta1, nesterov=self.optimizer_kind == 'nesterov')),
      optax.add_decayed_weights(run_schedules['weight_decay'], decayed),
      optax.scale_by_learning_rate(run_schedules['learning_rate']),
    )
