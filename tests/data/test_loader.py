"""Batch t follows from the seed alone: whoever asks, however many processes share it, whatever is broken."""

import contextlib

from hypothesis import example, given
from hypothesis import strategies as st
import numpy as np
import pytest

from maskrep.data.loader import in_order
from maskrep.data.sources.source import Example
from maskrep.errors import ConfigError
from tests.support.pictures import encode, gradient
from tests.support.records import READS, Numbers, joined, labels, loader

pytestmark = pytest.mark.quick


def assert_equal(ours, theirs):
  assert ours.keys() == theirs.keys()
  for name in ours:
    assert ours[name].dtype == theirs[name].dtype
    np.testing.assert_array_equal(ours[name], theirs[name])


# grain's index_shuffle takes milliseconds where there are a few dozen records: few tests have so few.
LENGTHS = st.integers(400, 800)


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


def test_pictures_are_reduced_to_the_canvas():
  class Large(Numbers):
    def __getitem__(self, index):
      return Example(encode(gradient(40, 80), 'PNG'), 0, '')

  batch = loader(Large(4), canvas=20)[0]
  assert batch['size'].tolist() == [[10, 20]] * 4 and batch['image'][:, :10].all() and not batch['image'][:, 10:].any()


@pytest.mark.parametrize('length', [1, 4, 10])
def test_in_order_is_every_record_once_padded_to_one_size(length):
  batches = list(in_order(Numbers(length), batch_size=4, canvas=3, threads=2, stall_timeout_s=60, reads=READS))
  assert {batch['image'].shape for batch in batches} == {(4, 3, 3, 3)}
  whole = joined(batches)
  assert whole['valid'].tolist() == [True] * length + [False] * (-length % 4)
  assert whole['label'][whole['valid']].tolist() == [*range(length)]
  assert not whole['image'][~whole['valid']].any() and (whole['size'][~whole['valid']] == 1).all()


# The fields that are read.


@pytest.mark.parametrize('reads', [('image',), ('label', 'size'), ()])
def test_a_batch_holds_what_is_read_and_nothing_else(reads):
  source = Numbers(500, broken=[3])
  load, whole = loader(source, reads=reads), loader(source)
  options = {'batch_size': 4, 'canvas': 3, 'threads': 2, 'stall_timeout_s': 60}
  first = next(load.iterate(7))
  for found, expected, mark in (
    (load[7], whole[7], 'broken'), (first, whole[7], 'broken'),
    (next(in_order(source, **options, reads=reads)), next(in_order(source, **options, reads=READS)), 'valid')):
    assert_equal(found, {name: expected[name] for name in (*reads, mark)})


@pytest.mark.parametrize('reading', [
  lambda reads: loader(Numbers(9), reads=reads),
  lambda reads: in_order(Numbers(9), batch_size=4, canvas=3, threads=2, stall_timeout_s=60, reads=reads)],
  ids=['loader', 'in order'])
def test_a_field_that_no_batch_has_is_named(reading):
  with pytest.raises(ValueError, match="no field 'labels'; the fields are image, size, position, label, label_map"):
    reading(('image', 'labels'))
