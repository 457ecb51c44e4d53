"""A trace of steps that a start of a run has, and of steps that it does not have."""

import logging

import pytest

from maskrep.train.trace import Trace

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(('steps', 'recorded', 'warned'), [
  ((7, 8), [7, 8], False), ((2, 3), [], True), ((4, 7), [], True), ((8, 12), [], True), (None, [], False)])
def test_all_of_the_steps_are_recorded_or_none(steps, recorded, warned, tmp_path, caplog, monkeypatch):
  """By a profiler that notes when it is started and stopped."""
  under_way, seen = [], []
  monkeypatch.setattr('jax.profiler.start_trace', under_way.append)
  monkeypatch.setattr('jax.profiler.stop_trace', under_way.clear)
  with caplog.at_level(logging.WARNING), Trace(tmp_path, steps, start=5, total=9) as trace:
    for step in range(6, 10):
      trace.before(step)
      seen += [step] * len(under_way)
      trace.after(step, {})
  assert seen == recorded and not under_way
  assert ('no trace is recorded' in caplog.text) == warned
