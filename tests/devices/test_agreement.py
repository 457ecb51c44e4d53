"""What processes compare. Several real ones: tests/long/test_distributed.py."""

import pytest

from maskrep.configs import msn_digits
from maskrep.devices.agreement import check_same, difference, gather, together
from maskrep.errors import DataError
from maskrep.experiment import same
from maskrep.workdir.starts import describe_start

pytestmark = pytest.mark.quick

HOSTS = ['a', 'b', 'c']


@pytest.mark.parametrize(('records', 'line'), [
  ([{'x': 1}, {'x': 1}, {'x': 1}], ''),
  ([{'x': 1, 'y': (2, 3)}, {'x': 1, 'y': [2, 3]}, {'x': 1, 'y': [2, 3]}], ''),
  ([{'x': 1}, {'x': 1}, {'x': 2}], 'x=2: in process 2 on c, and 1 in process 0 on a; '),
  ([{'x': 1}, {'x': 1.5}, {'x': 2}], 'x=1.5: in process 1 on b, and 1 in process 0 on a; '),
  ([{'x': 1}, {}, {'x': 1}], 'x="(none)": in process 1 on b, and 1 in process 0 on a; '),
  ([{'x': None}, {'x': 'r'}, {'x': 'r'}], ''),
  ([{'x': None}, {'x': 'r'}, {'x': 's'}], 'x="s": in process 2 on c, and "r" in process 1 on b; '),
  ([{'b': 1, 'a': 1}, {'b': 2, 'a': 2}, {'b': 2, 'a': 1}], 'a=2: in process 1 on b, and 1 in process 0 on a; '),
  ([{'x': float('nan')}] * 3, ''),
])
def test_the_first_difference_is_named_with_both_values(records, line):
  found = difference(records, HOSTS)
  assert found.startswith(line) and bool(found) == bool(line)


def test_alone_there_is_nothing_to_compare():
  assert gather({'x': (1, 2)}) == [{'x': [1, 2]}]
  check_same({'x': 1})
  assert together(lambda: 3) == 3
  with pytest.raises(DataError, match='^broken$'):
    together(lambda: (_ for _ in ()).throw(DataError('broken')))


def test_facts_are_all_fields_but_those_that_concern_one_process():
  config = msn_digits.get_config()
  start = describe_start('')
  facts = same.of_config(config.to_dict(), start)
  assert facts['config.optim.learning_rate'] == 0.002 and facts['versions.jax'] and len(facts['code']) == 16
  config.data.threads = 17
  assert same.of_config(config.to_dict(), start) == facts
  config.seed += 1
  assert difference([facts, same.of_config(config.to_dict(), start)], HOSTS).startswith('config.seed=')


def test_the_code_is_compared_by_its_files(tmp_path, monkeypatch):
  monkeypatch.setattr(same, 'PACKAGE', tmp_path)
  (tmp_path / 'step.py').write_text('a = 1')
  before = same.of_config({}, describe_start(''))['code']
  (tmp_path / 'step.py').write_text('a = 2')
  assert same.of_config({}, describe_start(''))['code'] != before
