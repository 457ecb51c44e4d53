"""Records that cannot be read are replaced and named; too many of them end the run."""

import contextlib
import logging

import numpy as np
import pytest

from maskrep.data.batch import NAMED
from maskrep.data.loader import ATTEMPTS, in_order
from maskrep.errors import DataError
from tests.support.records import READS, Numbers, joined, labels, loader

pytestmark = pytest.mark.quick


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
              lambda: next(in_order(Labelled(4), batch_size=4, canvas=3, threads=2, stall_timeout_s=60, reads=READS))]
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


def test_in_order_leaves_out_what_is_broken_and_says_so(caplog):
  source = Numbers(9, broken=[2], lost=[4])
  whole = joined(list(in_order(source, batch_size=4, canvas=3, threads=2, stall_timeout_s=60, reads=READS)))
  assert whole['label'][whole['valid']].tolist() == [0, 1, 3, 5, 6, 7, 8]
  assert sorted(record.message.split(' cannot')[0] for record in caplog.records) == ['number 2', 'record 4 of numbers']


def test_an_error_of_the_program_is_not_taken_for_a_broken_image():
  class Wrong(Numbers):
    def __getitem__(self, index):
      raise KeyError('a mistake')

  with pytest.raises(KeyError, match='a mistake'):
    next(loader(Wrong(10)).iterate(0))
