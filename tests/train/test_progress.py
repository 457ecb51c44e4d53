"""Progress of a run: collapse is warned of, time lost to a kill is counted."""

import json
import logging
import time
import types

import pytest

from maskrep.devices.topology import peak_flops
from maskrep.train.clock import Clock
from maskrep.train.progress import COLLAPSED_STEPS, Progress

pytestmark = pytest.mark.quick

PROGRAM = types.SimpleNamespace(total_steps=200, batch_size=8, schedules={})


def train(workdir, steps, feature_std, start=0):
  clock = Clock(time.monotonic())
  with Progress(workdir, PROGRAM, None, clock, start=start, log_every_steps=1) as progress:
    for step in range(start + 1, start + steps + 1):
      with clock.phase('step'):
        metrics = {'loss': 1.0, 'skipped_in_a_row': 0, 'skipped_updates': 0, 'feature_std': feature_std(step)}
        progress.update(step, metrics, broken=0)
    progress.flush({})


@pytest.mark.parametrize(('feature_std', 'warned'), [
  (lambda step: 0.001, 1), (lambda step: 0.5, 0), (lambda step: 0.001 if step % 10 else 0.5, 0)],
  ids=['collapsed', 'sound', 'recovers'])
def test_collapse_is_warned_of_once_within_100_steps(feature_std, warned, tmp_path, caplog):
  caplog.set_level(logging.WARNING)
  train(tmp_path, 100, feature_std)
  assert caplog.text.count('collapsed') == warned
  assert COLLAPSED_STEPS <= 100


def test_what_a_killed_run_lost_is_counted_and_dropped(tmp_path):
  train(tmp_path, 9, lambda step: 1.0)
  lost = [json.loads(line)['seconds'] for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()][6:]
  train(tmp_path, 2, lambda step: 1.0, start=6)
  began = [json.loads(line) for line in (tmp_path / 'events.jsonl').read_text().splitlines()]
  assert [(event['step'], event['lost_steps']) for event in began] == [(1, 0), (7, 3)]
  assert began[1]['lost_seconds'] == pytest.approx(sum(lost))
  steps = [json.loads(line)['step'] for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
  assert steps == list(range(1, 9))


def test_the_speed_is_compared_with_that_of_the_device(tmp_path):
  clock = Clock(time.monotonic())
  with Progress(tmp_path, PROGRAM, None, clock, start=0, log_every_steps=1, work=(2e12, 8e12)) as progress:
    with clock.phase('step'):
      time.sleep(0.01)
      progress.update(1, {'loss': 1.0, 'skipped_in_a_row': 0, 'skipped_updates': 0}, broken=0)
    progress.flush({})
  record = json.loads((tmp_path / 'metrics.jsonl').read_text())
  assert record['tflops_per_device'] == pytest.approx(2 * record['images_per_second'] / PROGRAM.batch_size)
  assert record['share_of_peak'] == pytest.approx(record['tflops_per_device'] / 8)
  assert peak_flops('NVIDIA H100 80GB HBM3') == 989e12 and peak_flops('TPU v5 lite') == 197e12
  assert peak_flops('cpu') is None


def test_every_second_counts_once():
  started = time.monotonic() - 5
  clock = Clock(started)
  for _ in range(3):
    with clock.phase('step'):
      time.sleep(0.01)
      with clock.phase('data'):
        time.sleep(0.02)
  seconds = clock.seconds()
  assert sum(seconds.values()) == pytest.approx(time.monotonic() - started, abs=0.01)
  assert seconds['start'] == pytest.approx(5, abs=0.05) and seconds['data'] >= 0.06 and seconds['step'] >= 0.03
