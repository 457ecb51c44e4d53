"""Batch t follows from the seed alone: whoever asks, however many processes share it, whatever is broken."""

import contextlib
import logging
import threading
import time

from hypothesis import example, given
from hypothesis import strategies as st
import numpy as np
import pytest

from maskrep.data import loader as room
from maskrep.data.loader import ATTEMPTS, NAMED, Loader, in_order
from maskrep.data.sources.source import Example
from maskrep.errors import ConfigError, DataError, Stalled
from tests.support.pictures import encode, gradient


class Numbers:
  """Record i is a picture of 1 x (1 + i % 3) pixels, its first pixel and its label saying i; some are broken."""

  num_classes = 0
  fingerprint = 'numbers'

  def __init__(self, length: int, broken=(), lost=()):
    self.length, self.broken, self.lost = length, set(broken), set(lost)

  def __len__(self):
    return self.length

  def __getitem__(self, index):
    if index in self.lost:
      raise OSError('lost')
    pixels = np.full((1, 1 + index % 3, 3), (index % 256, index // 256, 7), np.uint8)
    return Example(b'<html>' if index in self.broken else pixels, index, f'number {index}')


def loader(source, batch_size=4, **options) -> Loader:
  return Loader(source, **{'canvas': 3, 'seed': 0, 'threads': 2, 'max_broken_fraction': 1.0,
                           'stall_timeout_s': 60} | options,
                batch_size=batch_size)


def assert_equal(ours, theirs):
  assert ours.keys() == theirs.keys()
  for name in ours:
    assert ours[name].dtype == theirs[name].dtype
    np.testing.assert_array_equal(ours[name], theirs[name])


# grain's index_shuffle takes milliseconds where there are a few dozen records: few tests have so few.
LENGTHS = st.integers(400, 800)


def joined(parts):
  return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def labels(load, steps) -> list[int]:
  return np.concatenate([load[t]['label'] for t in range(steps)]).tolist()


def test_a_batch_holds_what_the_legend_says():
  batch = loader(Numbers(1000), batch_size=6, canvas=5)[7]
  assert {name: (array.dtype.name, array.shape) for name, array in batch.items()} == {
    'image': ('uint8', (6, 5, 5, 3)), 'size': ('int32', (6, 2)), 'position': ('uint32', (6,)),
    'label': ('int32', (6,)), 'broken': ('bool', (6,))}
  assert batch['position'].tolist() == [*range(42, 48)] and not batch['broken'].any()
  for image, (height, width), label in zip(batch['image'], batch['size'], batch['label'], strict=True):
    assert (height, width) == (1, 1 + label % 3)
    assert (image[:height, :width] == (label % 256, label // 256, 7)).all()
    assert image.sum() == image[:height, :width].sum()


@given(LENGTHS, st.integers(0, 2**40), st.integers(0, 2**31), st.booleans())
@example(2, 3, 0, True)
def test_a_batch_does_not_depend_on_the_number_of_processes(length, step, seed, some_broken):
  source = Numbers(length, broken=[1] if some_broken else [])
  whole = loader(source, seed=seed)[step]
  for count in (2, 4):
    parts = [loader(source, seed=seed, process_index=p, process_count=count)[step] for p in range(count)]
    assert_equal(joined(parts), whole)


@given(LENGTHS, st.integers(0, 100), st.integers(1, 8))
@example(3, 1, 2)
def test_going_through_equals_asking_for_each(length, start, threads):
  load = loader(Numbers(length, broken=range(1, length, 5), lost=range(2, length, 7)), threads=threads)
  with contextlib.closing(load.iterate(start)) as batches:
    for t in range(start, start + 5):
      assert_equal(next(batches), load[t])


@given(LENGTHS, st.integers(0, 50), st.integers(0, 100))
@example(1, 5, 0)
@example(5, 3, 0)
def test_every_epoch_holds_every_record_once_across_the_borders_of_batches(length, epoch, seed):
  load = loader(Numbers(length), batch_size=64, seed=seed)
  first = epoch * length
  batches = joined([load[t] for t in range(first // 64, (first + length) // 64 + 1)])
  start = first % 64
  assert batches['position'][start] == first
  assert sorted(batches['label'][start : start + length]) == [*range(length)]


def test_each_epoch_and_each_seed_has_its_own_order():
  first, second = np.split(np.array(labels(loader(Numbers(400)), 200)), 2)
  other = np.array(labels(loader(Numbers(400), seed=1), 100))
  for a, b in ((first, second), (first, other), (second, other), (first, np.arange(400))):
    assert (a == b).mean() < 0.02
  assert labels(loader(Numbers(400)), 200) == [*first, *second]


def test_the_order_is_the_one_that_its_number_stands_for():
  load = loader(Numbers(1000), batch_size=8, seed=7)
  assert load.fingerprint == 'numbers, order 1'
  assert load[0]['label'].tolist() == [661, 759, 214, 871, 246, 525, 818, 474]
  assert load[125]['label'].tolist() == [668, 84, 161, 284, 451, 460, 985, 877]  # epoch 1


def test_every_record_is_equally_likely_at_every_place():
  counts = np.zeros((12, 12))  # of twelfths of an epoch, and of twelfths of the records
  load = loader(Numbers(1200), batch_size=1200)
  for t in range(8):
    np.add.at(counts, (np.arange(1200) // 100, load[t]['label'] // 100), 1)
  expected = 8 * 1200 / 144
  assert ((counts - expected) ** 2 / expected).sum() < 121 + 5 * np.sqrt(2 * 121)  # chi-square, 11 x 11 degrees


def test_batch_that_cannot_be_shared():
  with pytest.raises(ConfigError, match='config.batch_size=6: must be a multiple of the 4 processes'):
    loader(Numbers(10), batch_size=6, process_count=4)


# Broken images.


def test_a_broken_record_is_replaced_and_counted_and_all_else_stays():
  sound, damaged = loader(Numbers(500)), loader(Numbers(500, broken=range(20), lost=[20]))

  def stands_at(position):  # as the docstring of the loader says
    label = sound[position // 4]['label'][position % 4]
    return stands_at(position + 500) if label <= 20 else label

  total = 0
  for t in range(250):
    expected, found = sound[t], damaged[t]
    assert found['label'].tolist() == [stands_at(int(position)) for position in expected['position']]
    np.testing.assert_array_equal(found['position'], expected['position'])
    np.testing.assert_array_equal(found['broken'], expected['label'] <= 20)
    kept = ~found['broken']
    np.testing.assert_array_equal(found['image'][kept], expected['image'][kept])
    total += found['broken'].sum()
  assert total == 2 * 21  # in two epochs


def test_replacements_are_spread_over_the_other_records():
  load = loader(Numbers(1000, broken=range(500)), batch_size=1000)
  batches = [load[t] for t in range(5)]
  replacements = np.bincount(np.concatenate([batch['label'][batch['broken']] for batch in batches]), minlength=1000)
  assert replacements.sum() == 2500 and not replacements[:500].any()
  assert (replacements[500:] == 0).mean() < 0.03 and replacements.max() < 20  # Poisson of mean 5: 0.7 %, 1e-4


def test_each_broken_file_is_logged_once_and_the_first_of_them_only(caplog):
  with caplog.at_level(logging.WARNING):
    labels(loader(Numbers(50, broken=[7], lost=[8])), 60)
  assert sorted(record.message.split(' cannot')[0] for record in caplog.records) == ['number 7', 'record 8 of numbers']
  caplog.clear()
  with caplog.at_level(logging.WARNING):
    labels(loader(Numbers(100, broken=range(60))), 60)
  assert len(caplog.records) == NAMED


@pytest.mark.parametrize('label, fits', [(-2, False), (-1, True), (4, True), (5, False)])
def test_a_label_that_no_class_has_ends_it_at_once(label, fits):
  class Labelled(Numbers):
    num_classes = 5

    def __getitem__(self, index):
      return super().__getitem__(index)._replace(label=label)

  readings = [lambda: next(loader(Labelled(4)).iterate(0)),
              lambda: next(in_order(Labelled(4), batch_size=4, canvas=3, threads=2, stall_timeout_s=60))]
  for reading in readings:
    if fits:
      assert (reading()['label'] == label).all()
    else:
      with pytest.raises(DataError, match=f'number . has label {label}, but there are 5 classes'):
        reading()


def test_where_nothing_can_be_read_it_ends():
  with pytest.raises(DataError, match=f'{ATTEMPTS} records in a row .*number '):
    loader(Numbers(100, broken=range(100)))[0]


def run(source, fraction, records, batch_size=8) -> int:
  """Reads that many records; returns how many could not be."""
  with contextlib.closing(loader(source, batch_size=batch_size, max_broken_fraction=fraction).iterate(0)) as batches:
    return sum(int(next(batches)['broken'].sum()) for _ in range(records // batch_size))


def test_five_percent_of_broken_images_stop_a_run_and_are_named():
  source = Numbers(4000, broken=range(0, 4000, 20))
  with pytest.raises(DataError, match='config.data.max_broken_fraction=0.001: .* images cannot be read') as failure:
    run(source, 0.001, 2000)
  assert failure.value.exit_code == 3 and '\n' not in str(failure.value)
  with pytest.raises(DataError) as failure:
    run(source, 0.001, 2000, batch_size=500)
  assert str(failure.value).count('number ') >= 5


def test_few_broken_images_do_not_stop_a_run():
  source = Numbers(4000, broken=[5, 1000])
  assert run(source, 0.001, 8000) == 4
  first = int(loader(Numbers(4000), batch_size=8)[0]['label'][3])
  assert run(Numbers(4000, broken=[first]), 0.001, 2000) == 1


def test_a_limit_of_zero_allows_none():
  with pytest.raises(DataError, match='max_broken_fraction=0: 1 of '):
    run(Numbers(40, broken=[5]), 0, 40)


# Evaluation.


@pytest.mark.parametrize('length', [1, 4, 10])
def test_in_order_is_every_record_once_padded_to_one_size(length):
  batches = list(in_order(Numbers(length), batch_size=4, canvas=3, threads=2, stall_timeout_s=60))
  assert {batch['image'].shape for batch in batches} == {(4, 3, 3, 3)}
  whole = joined(batches)
  assert whole['valid'].tolist() == [True] * length + [False] * (-length % 4)
  assert whole['label'][whole['valid']].tolist() == [*range(length)]
  assert not whole['image'][~whole['valid']].any() and (whole['size'][~whole['valid']] == 1).all()


def test_in_order_leaves_out_what_is_broken_and_says_so(caplog):
  source = Numbers(9, broken=[2], lost=[4])
  whole = joined(list(in_order(source, batch_size=4, canvas=3, threads=2, stall_timeout_s=60)))
  assert whole['label'][whole['valid']].tolist() == [0, 1, 3, 5, 6, 7, 8]
  assert sorted(record.message.split(' cannot')[0] for record in caplog.records) == ['number 2', 'record 4 of numbers']


# Threads.


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
  monkeypatch.setattr(room, 'CLOSE_S', 0.1)
  source = Hanging(12)
  yield source
  source.over.set()


@pytest.mark.parametrize('reading', [
  lambda source: loader(source, batch_size=12, stall_timeout_s=1).iterate(0),
  lambda source: in_order(source, batch_size=12, canvas=3, threads=2, stall_timeout_s=1),
], ids=['loader', 'in order'])
def test_a_reader_that_hangs_is_shown_then_ends_the_run(reading, hanging, caplog, capfd):
  start = time.perf_counter()
  with pytest.raises(Stalled, match='data.stall_timeout_s=1: records 3 of numbers did not come within 2 s') as failure:
    next(reading(hanging))
  assert 2 <= time.perf_counter() - start < 4
  assert failure.value.exit_code == 3 and '\n' not in str(failure.value)
  warned, = caplog.records
  assert 'records 3 of numbers did not come within 1 s' in warned.message
  dumped = capfd.readouterr().err
  assert 'in __getitem__' in dumped and dumped.count('in _wait\n') == 1


def test_closing_leaves_a_thread_that_hangs_behind(hanging):
  batches = in_order(hanging, batch_size=2, canvas=3, threads=2, stall_timeout_s=60)
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

  batches = list(in_order(Slower(3), batch_size=3, canvas=3, threads=1, stall_timeout_s=1))
  assert batches[0]['label'].tolist() == [0, 1, 2] and len(caplog.records) == warnings


def test_a_slow_row_is_waited_for_while_others_come(caplog):
  class FirstIsSlow(Numbers):
    def __getitem__(self, index):
      time.sleep(0.4 if index else 2.5)
      return super().__getitem__(index)

  batch, = in_order(FirstIsSlow(6), batch_size=6, canvas=3, threads=2, stall_timeout_s=1)
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


def test_an_error_of_the_program_is_not_taken_for_a_broken_image():
  class Wrong(Numbers):
    def __getitem__(self, index):
      raise KeyError('a mistake')

  with pytest.raises(KeyError, match='a mistake'):
    next(loader(Wrong(10)).iterate(0))
  assert readers() == 0


def test_pictures_are_reduced_to_the_canvas():
  class Large(Numbers):
    def __getitem__(self, index):
      return Example(encode(gradient(40, 80), 'PNG'), 0, '')

  batch = loader(Large(4), canvas=20)[0]
  assert batch['size'].tolist() == [[10, 20]] * 4 and batch['image'][:, :10].all() and not batch['image'][:, 10:].any()
