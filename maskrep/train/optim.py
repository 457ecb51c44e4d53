"""The optimiser and the schedules of a run, from its config sections."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from maskrep.train import schedules
from maskrep.train.schedules import Schedule
from maskrep.types import Params

OPTIMIZERS = 'adamw', 'sgd', 'nesterov', 'lars'
EMA_SCHEDULES = {'linear': schedules.linear, 'cosine': schedules.cosine}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optim:
  """AdamW, SGD with momentum, or LARS, with warm-up and cosine, growing weight decay and EMA momentum.

  Attributes:
    optimizer_kind: 'adamw', 'sgd', 'nesterov' (SGD with Nesterov's momentum) or 'lars'.
    warmup_learning_rate, learning_rate, final_learning_rate: the line of the warm-up, then half a cosine.
    warmup_epochs: length of the warm-up; never stretched.
    schedule_stretch: all schedules are laid out for this many times the steps of the run and cut off at its end
      (1.25 in the MSN authors' code).
    weight_decay, final_weight_decay: half a cosine; decay is decoupled and multiplied by the learning rate. For LARS it
      is part of the gradient that is scaled.
    beta1, beta2: of Adam; `beta1` is the momentum of the others.
    clip_norm: largest norm of the gradient, prototypes aside; 0 leaves it out.
    ema_momentum, final_ema_momentum, ema_schedule: 'linear', or 'cosine' for half of one.
  """

  optimizer_kind: str
  warmup_learning_rate: float
  learning_rate: float
  final_learning_rate: float
  warmup_epochs: float
  schedule_stretch: float
  weight_decay: float
  final_weight_decay: float
  beta1: float
  beta2: float
  clip_norm: float
  ema_momentum: float
  final_ema_momentum: float
  ema_schedule: str

  def __post_init__(self):
    for field in ('beta1', 'beta2', 'ema_momentum', 'final_ema_momentum'):
      if not 0 <= getattr(self, field) <= 1:
        raise ValueError(f'{field}={getattr(self, field)}: must be in [0, 1]')
    for field in ('warmup_learning_rate', 'learning_rate', 'final_learning_rate', 'warmup_epochs', 'weight_decay',
                  'final_weight_decay', 'clip_norm'):
      if not 0 <= getattr(self, field) < float('inf'):
        raise ValueError(f'{field}={getattr(self, field)}: must be finite and not negative')
    if self.optimizer_kind not in OPTIMIZERS:
      raise ValueError(f'optimizer_kind={self.optimizer_kind!r}: must be one of {", ".join(OPTIMIZERS)}')
    if self.ema_schedule not in EMA_SCHEDULES:
      raise ValueError(f'ema_schedule={self.ema_schedule!r}: must be {" or ".join(EMA_SCHEDULES)}')
    if not 1 <= self.schedule_stretch < float('inf'):
      raise ValueError(f'schedule_stretch={self.schedule_stretch}: must be finite and at least 1')

  def schedules(self, *, total_steps: int, warmup_steps: int) -> dict[str, Schedule]:
    """{'learning_rate', 'weight_decay', 'ema_momentum'}: step -> value."""
    steps = round(self.schedule_stretch * total_steps)
    return {
      'learning_rate': schedules.warmup_cosine(
        self.warmup_learning_rate, self.learning_rate, self.final_learning_rate, warmup_steps, steps),
      'weight_decay': schedules.cosine(self.weight_decay, self.final_weight_decay, steps),
      'ema_momentum': EMA_SCHEDULES[self.ema_schedule](self.ema_momentum, self.final_ema_momentum, steps),
    }

  def optimizer(
    self, run_schedules: dict[str, Schedule], scales: Params | None = None
  ) -> optax.GradientTransformation:
    """Clipping, Adam or momentum, decoupled decay, learning rate; or clipping and LARS.

    Prototypes are neither clipped nor decayed, as in MSN's code. LARS (arXiv:1708.03888) adapts what is decayed, by a
    trust coefficient of 0.001, as in SimCLR and BYOL: biases and norms get plain momentum.

    With `scales`, a pytree of floats, each leaf's update is multiplied by its own. Leaves of 0 are not updated: they
    have no moments, do not decay and do not count in the norm that is clipped.
    """
    if scales is None:
      return self._optimizer(run_schedules)

    def scale(updates, _):
      return jax.tree.map(lambda s, update: s * update if s else jnp.zeros_like(update), scales, updates)

    return optax.chain(
      optax.masked(self._optimizer(run_schedules), jax.tree.map(bool, scales)), optax.stateless(scale))

  def _optimizer(self, run_schedules: dict[str, Schedule]) -> optax.GradientTransformation:
    clip = (optax.masked(optax.clip_by_global_norm(self.clip_norm), _without_prototypes) if self.clip_norm
            else optax.identity())
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


def decayed(params: Params) -> Params:
  """True for kernels and position embeddings; False for biases, norms, one-dimensional parameters and prototypes."""

  def rule(path, leaf):
    names = _names(path)
    return jnp.ndim(leaf) > 1 and names[-1] not in ('bias', 'scale') and names[0] != 'prototypes'

  return jax.tree_util.tree_map_with_path(rule, params)


def _without_prototypes(params: Params) -> Params:
  return jax.tree_util.tree_map_with_path(lambda path, _: _names(path)[0] != 'prototypes', params)


def _names(path) -> list[str]:
  return [key.key for key in path]
