"""The learning rate and the weight decay of step t against a scheduler that counts before it answers, as MSN's does."""

import math

import pytest

from maskrep.configs import extrema_vitb16, msn_vitb16
from maskrep.experiment.experiment import Experiment

TOTAL, WARMUP = 400, 60


def counted_before(step: int) -> tuple[float, float]:
  """Learning rate and weight decay of the (step + 1)-th call, of a run of 600 epochs whose schedules are stretched."""
  count, stretched = step + 1, 1.25 * TOTAL
  if count < WARMUP:
    rate = 2e-4 + count / WARMUP * (1e-3 - 2e-4)
  else:
    rate = 1e-6 + (1e-3 - 1e-6) * 0.5 * (1 + math.cos(math.pi * (count - WARMUP) / (stretched - WARMUP)))
  return rate, 0.4 + (0.04 - 0.4) * 0.5 * (1 + math.cos(math.pi * count / stretched))


def test_the_first_step_of_msn_has_the_values_of_step_1():
  values = Experiment.parse(msn_vitb16.get_config()).optim.schedules(total_steps=TOTAL, warmup_steps=WARMUP)
  for step in (0, 1, 58, 59, 60, 61, 200, 399):
    rate, decay = counted_before(step)
    assert float(values['learning_rate'](step)) == pytest.approx(rate, rel=1e-5), step
    assert float(values['weight_decay'](step)) == pytest.approx(decay, rel=1e-5), step
    # Its momentum is taken from a generator, whose first value is that of step 0.
    assert float(values['ema_momentum'](step)) == pytest.approx(0.996 + 0.004 * step / (1.25 * TOTAL), rel=1e-6)


def test_other_methods_begin_at_0():
  values = Experiment.parse(extrema_vitb16.get_config()).optim.schedules(total_steps=TOTAL, warmup_steps=WARMUP)
  assert float(values['learning_rate'](0)) == 0 and float(values['learning_rate'](30)) == pytest.approx(6e-4)
