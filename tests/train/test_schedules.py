"""Schedules against their closed forms in float64."""

import numpy as np
import pytest

from maskrep.train import schedules


def test_epochs_to_steps_rounds_the_examples():
  assert schedules.epochs_to_steps(600, 1_281_167, 1024) == 750_684
  assert schedules.epochs_to_steps(0.5, 10, 4) == 1


def test_linear():
  line = schedules.linear(0.996, 1.0, 250)
  np.testing.assert_allclose([line(0), line(125), line(250), line(900)], [0.996, 0.998, 1.0, 1.0], rtol=1e-6)


@pytest.mark.parametrize(('start', 'end'), [(1e-3, 1e-6), (0.04, 0.4)])
def test_cosine(start, end):
  steps = np.arange(0, 120)
  expected = end + (start - end) * 0.5 * (1 + np.cos(np.pi * np.minimum(steps / 97, 1)))
  np.testing.assert_allclose([schedules.cosine(start, end, 97)(s) for s in steps], expected, rtol=1e-5, atol=1e-9)


def test_warmup_cosine():
  schedule = schedules.warmup_cosine(2e-4, 1e-3, 1e-6, 15, 115)
  np.testing.assert_allclose(schedule(0), 2e-4, rtol=1e-6)
  np.testing.assert_allclose(schedule(6), 2e-4 + 8e-4 * 6 / 15, rtol=1e-6)
  np.testing.assert_allclose(schedule(15), 1e-3, rtol=1e-6)
  np.testing.assert_allclose(schedule(65), (1e-3 + 1e-6) / 2, rtol=1e-5)
  np.testing.assert_allclose(schedule(115), 1e-6, rtol=1e-3)


def test_drops():
  schedule = schedules.drops(0.5, 0.2, [12, 16])
  np.testing.assert_allclose([schedule(step) for step in (0, 11, 12, 15, 16, 19)], [0.5, 0.5, 0.1, 0.1, 0.02, 0.02],
                             rtol=1e-6)


def test_without_warmup_the_cosine_starts_at_once():
  np.testing.assert_allclose(schedules.warmup_cosine(0.0, 1e-3, 0.0, 0, 10)(0), 1e-3, rtol=1e-6)
