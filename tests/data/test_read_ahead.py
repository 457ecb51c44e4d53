"""Threads read ahead, boundedly; closing stops them; a read that hangs ends the run."""

import contextlib
import sys
import threading
import time

import pytest

from maskrep.data import read_ahead
from maskrep.data.loader import in_order
from maskrep.errors import Stalled
from tests.support.records import READS, Numbers, loader

pytestmark = pytest.mark.quick


class Slow(Numbers):
  def __getitem__(self, index):
    time.sleep(0.02)
    return super().__getitem__(index)


def readers() -> int:
  return sum(thread.name.startswith('read') for thread in threading.enumerate())


def test_one_batch_is_read_by_many_threads_and_none_is_left_behind():
  batches = loader(Slow(100), batch_size=16, threads=8).iterate(0)
  start = time.perf_counter()
  next(batches)
  assert time.perf_counter() - start < 16 * 0.02
  assert readers() == 8
  batches.close()
  assert readers() == 0


class Hanging(Numbers):
  """Record 3 does not come before the test is over."""

  def __init__(self, length: int):
    super().__init__(length)
    self.reached, self.over = threading.Event(), threading.Event()

  def __getitem__(self, index):
    if index == 3:
      self.reached.set()
      self.over.wait()
    return super().__getitem__(index)


@pytest.fixture
def hanging(monkeypatch):
  monkeypatch.setattr(read_ahead, 'CLOSE_S', 0.1)
  source = Hanging(12)
  yield source
  source.over.set()


@pytest.mark.parametrize('reading', [
  lambda source: loader(source, batch_size=12, stall_timeout_s=1).iterate(0),
  lambda source: in_order(source, batch_size=12, canvas=3, threads=2, stall_timeout_s=1, reads=READS),
], ids=['loader', 'in order'])
def test_a_reader_that_hangs_is_shown_then_ends_the_run(reading, hanging, caplog, capfd):
  start = time.perf_counter()
  expected = 'data.stall_timeout_s=1: records 3 of numbers did not arrive within 2 s'
  with pytest.raises(Stalled, match=expected) as failure:
    next(reading(hanging))
  assert 2 <= time.perf_counter() - start < 4
  assert failure.value.exit_code == 3 and '\n' not in str(failure.value)
  warned, = caplog.records
  assert 'records 3 of numbers did not arrive within 1 s' in warned.message
  dumped = capfd.readouterr().err
  assert 'in __getitem__' in dumped and dumped.count('in _wait\n') == 1


def test_closing_leaves_a_thread_that_hangs_behind(hanging):
  batches = in_order(hanging, batch_size=2, canvas=3, threads=2, stall_timeout_s=60, reads=READS)
  next(batches)
  hanging.reached.wait()
  start = time.perf_counter()
  batches.close()
  assert time.perf_counter() - start < 1


@pytest.mark.parametrize('seconds, warnings', [(0.4, 0), (1.2, 1)])
def test_a_reader_that_is_slow_is_left_in_peace(seconds, warnings, caplog):
  class Slower(Numbers):
    def __getitem__(self, index):
      time.sleep(seconds)
      return super().__getitem__(index)

  batches = list(in_order(Slower(3), batch_size=3, canvas=3, threads=1, stall_timeout_s=1, reads=READS))
  assert batches[0]['label'].tolist() == [0, 1, 2] and len(caplog.records) == warnings


def test_a_slow_row_is_waited_for_while_others_come(caplog):
  class FirstIsSlow(Numbers):
    def __getitem__(self, index):
      time.sleep(0.4 if index else 2.5)
      return super().__getitem__(index)

  batch, = in_order(FirstIsSlow(6), batch_size=6, canvas=3, threads=2, stall_timeout_s=1, reads=READS)
  assert batch['label'].tolist() == [*range(6)] and len(caplog.records) == 1


def test_closing_does_not_wait_for_what_is_read_ahead():
  batches = loader(Slow(500), batch_size=50, threads=2).iterate(0)
  next(batches)
  start = time.perf_counter()
  batches.close()
  assert time.perf_counter() - start < 0.5  # the two batches ahead take 1 s


def test_it_reads_a_bounded_number_of_batches_ahead():
  read = []

  class Counted(Numbers):
    def __getitem__(self, index):
      read.append(index)
      return super().__getitem__(index)

  with contextlib.closing(loader(Counted(1000), batch_size=10).iterate(0)) as batches:
    for _ in range(5):
      next(batches)
    time.sleep(0.1)
    assert len(read) <= (5 + 2) * 10


def test_an_error_leaves_no_thread_behind():
  class Wrong(Numbers):
    def __getitem__(self, index):
      raise KeyError('a mistake')

  with pytest.raises(KeyError):
    next(loader(Wrong(10)).iterate(0))
  assert readers() == 0


def test_a_reader_that_hangs_ends_a_run_without_stderr_too(hanging, monkeypatch):
  for name in ('stderr', '__stderr__'):  # both are None if the descriptor is closed
    monkeypatch.setattr(sys, name, None)
  with pytest.raises(Stalled):
    next(in_order(hanging, batch_size=12, canvas=3, threads=2, stall_timeout_s=1, reads=READS))
