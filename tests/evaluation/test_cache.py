import numpy as np
import pytest

from maskrep.evaluation.cache import cached
from maskrep.evaluation.features import Features

pytestmark = pytest.mark.quick

KEY = {'weights': 'abc', 'asked': {'size': 12, 'mean': (0.5, 0.5)}, 'images': 'digits:test:359'}
FOUND = Features(np.arange(12, dtype=np.float32).reshape(4, 3), np.array([3, -1, 0, 2], np.int32))


def never():
  raise AssertionError('computed again')


def test_what_was_computed_is_read(tmp_path):
  folder = tmp_path / 'features'
  cached(folder, KEY, 4, lambda: FOUND)
  for key in (KEY, dict(reversed(KEY.items())), KEY | {'asked': {'size': 12, 'mean': [0.5, 0.5]}}):
    found = cached(folder, key, 4, never)
    assert [(each.dtype, each.tolist()) for each in found] == [(each.dtype, each.tolist()) for each in FOUND]
  assert [path.suffix for path in folder.iterdir()] == ['.npz']


@pytest.mark.parametrize('change', [{'weights': 'abd'}, {'images': 'digits:train:1438'}, {'ratio': 0.3},
                                    {'asked': {'size': 16, 'mean': (0.5, 0.5)}}])
def test_whatever_it_depends_on_is_computed_anew(tmp_path, change):
  cached(tmp_path, KEY, 4, lambda: FOUND)
  other = Features(FOUND.features + 1, FOUND.labels)
  np.testing.assert_array_equal(cached(tmp_path, KEY | change, 4, lambda: other).features, other.features)
  np.testing.assert_array_equal(cached(tmp_path, KEY, 4, never).features, FOUND.features)


def test_damage_is_noticed(tmp_path, caplog):
  cached(tmp_path, KEY, 4, lambda: FOUND)
  path, = tmp_path.iterdir()
  whole = path.read_bytes()
  place = whole.index(FOUND.features.tobytes())
  flipped = whole[:place + 5] + bytes([whole[place + 5] ^ 1]) + whole[place + 6:]
  for damaged in (flipped, whole[:100], b''):
    path.write_bytes(damaged)
    caplog.clear()
    np.testing.assert_array_equal(cached(tmp_path, KEY, 4, lambda: FOUND).features, FOUND.features)
    assert 'is damaged' in caplog.text
    assert path.read_bytes() == whole


def test_less_than_all_is_not_kept(tmp_path):
  """One of five images could not be read, and can be now."""
  assert len(cached(tmp_path, KEY, 5, lambda: FOUND).labels) == 4
  more = Features(np.ones((5, 3), np.float32), np.zeros(5, np.int32))
  assert len(cached(tmp_path, KEY, 5, lambda: more).labels) == 5


def test_what_could_not_be_computed_leaves_nothing(tmp_path):
  with pytest.raises(AssertionError, match='again'):
    cached(tmp_path / 'features', KEY, 4, never)
  assert not (tmp_path / 'features').exists()
