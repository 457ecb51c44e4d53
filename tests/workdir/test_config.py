"""config.json: what is stored comes back; a run goes on only with the config it had; earlier versions are read."""

import copy
import json
import logging

import pytest

from maskrep.errors import CheckpointError, ConfigError
from maskrep.workdir.config import VERSION, changes, load_config, store_config
from maskrep.workdir.upgrade import upgraded

pytestmark = pytest.mark.quick

CONFIG = {'seed': 0, 'batch_size': 8, 'optim': {'learning_rate': 0.1}, 'eval': {'every_steps': 5},
          'train': {'fsdp': 1, 'epochs': 2.0}, 'views': {'mean': (0.5, 0.5)}}
FREE = 'eval.', 'train.fsdp'


def changed(field: str, value) -> dict:
  config = copy.deepcopy(CONFIG)
  *section, name = field.split('.')
  (config[section[0]] if section else config)[name] = value
  return config


def stored(workdir) -> dict:
  return json.loads((workdir / 'config.json').read_text())


def write(workdir, text: str) -> None:
  (workdir / 'config.json').write_text(text)


def test_what_is_stored_comes_back_and_the_version_is_in_the_file_alone(tmp_path):
  for _ in range(2):
    store_config(tmp_path, CONFIG, free=())
    assert load_config(tmp_path) == CONFIG
    assert stored(tmp_path)['version'] == VERSION == 4


def test_another_config_is_refused_with_a_diff_and_changes_nothing(tmp_path):
  store_config(tmp_path, CONFIG, free=FREE)
  new = changed('optim.learning_rate', 0.2)
  with pytest.raises(ConfigError, match=r'optim\.learning_rate: 0\.1 -> 0\.2\n.*=optim.learning_rate$') as failure:
    store_config(tmp_path, new, free=FREE)
  assert 'version' not in str(failure.value) and load_config(tmp_path) == CONFIG
  assert changes(tmp_path, new) == {'optim.learning_rate': (0.1, 0.2)} and not changes(tmp_path, CONFIG)
  store_config(tmp_path, new, free=FREE, allowed=('optim.learning_rate',))
  assert load_config(tmp_path) == new


@pytest.mark.parametrize(('field', 'value', 'free'), [
  ('eval.every_steps', 7, True), ('train.fsdp', 2, True), ('train.epochs', 3.0, False), ('seed', 1, False)])
def test_free_fields_may_differ(field, value, free, tmp_path):
  store_config(tmp_path, CONFIG, free=FREE)
  if free:
    store_config(tmp_path, changed(field, value), free=FREE)
    assert load_config(tmp_path) == changed(field, value)
  else:
    with pytest.raises(ConfigError, match=f'{field}: '):
      store_config(tmp_path, changed(field, value), free=FREE)


def test_the_batch_size_may_not_differ_whatever_is_allowed(tmp_path):
  store_config(tmp_path, CONFIG, free=())
  with pytest.raises(ConfigError, match='config.batch_size=4: .* has 8'):
    store_config(tmp_path, changed('batch_size', 4), free=('batch_size',), allowed=('batch_size',))


# Versions.


NEAREST = {'knn_neighbours': 20, 'knn_temperature': 0.07}
KNN = {'knn': {'neighbours': [20], 'temperature': 0.07}}


@pytest.mark.parametrize(('old', 'new'), [
  ({'encoder_kind': 'cait', 'encoder': {'depth': 2}}, {'encoder': {'depth': 2, 'kind': 'cait'}}),
  ({'encoder': {'stem': 'small', 'depth': 18}}, {'encoder': {'stem': 'small', 'depth': 18, 'kind': 'resnet'}}),
  ({'encoder': {'class_depth': 2}}, {'encoder': {'class_depth': 2, 'kind': 'cait'}}),
  ({'encoder': {'depth': 2}}, {'encoder': {'depth': 2, 'kind': 'vit'}}),
  ({'objective': {'sigma': 5.0, 'num_masks': 2}, 'views': {'size': 8}},
   {'objective': {'num_masks': 2}, 'views': {'size': 8, 'high_pass_sigma': 5.0}}),
  ({'method': 'vqgan', 'tokenizer': {'groups': 4}, 'objective': {'a': 1}},
   {'method': 'vqgan', 'tokenizer': {'groups': 4}, 'objective': {'a': 1}}),
  ({'eval': {'batch_size': 8, 'labels_per_class': [1, 2], 'label_draws': 3} | NEAREST},
   {'eval': {'batch_size': 8, 'protocols': ['collapse', 'knn', 'lowshot'], 'lowshot': {
     'labels_per_class': [1, 2], 'fractions': [], 'lists': [], 'draws': 3, 'l2': [0.1], 'folds': 0}} | KNN}),
  ({'eval': {'labels_per_class': [], 'label_draws': 3} | NEAREST}, {'eval': {'protocols': ['collapse', 'knn']} | KNN}),
  ({'masking': {'ratio': 0.2, 'supervised_ratio': 0.0}}, {'masking': {'ratio': 0.2, 'supervised': False}}),
  ({'masking': {'supervised_ratio': 0.3}}, {'masking': {'supervised_ratio': 0.3}}),
  ({'objective': {'memax_weight': 1.0}, 'views': {'num_random': 1, 'size': 8}},
   {'objective': {'memax_weight': 1.0, 'batch_norm': 'joint'},
    'views': {'num_random': 1, 'size': 8, 'shared': 'nothing'}}),
  ({}, {}),
], ids=['its own field', 'resnet', 'cait', 'vit', 'high pass', 'no encoder', 'protocols', 'no low-shot',
        'one mask', 'two masks', 'fields of MSN', 'empty'])
def test_fields_of_earlier_versions_have_their_present_names(old, new):
  before = copy.deepcopy(old)
  assert upgraded(old) == new and old == before
  assert upgraded(new) == new


V1 = CONFIG | {'encoder': {'depth': 2}, 'objective': {'sigma': 0.0}}


def test_a_file_without_a_version_is_read_as_the_present_one_with_a_warning(tmp_path, caplog):
  write(tmp_path, json.dumps(V1))
  with caplog.at_level(logging.WARNING):
    found = load_config(tmp_path)
  assert found == upgraded(V1) and found['views'] == {'mean': (0.5, 0.5), 'high_pass_sigma': 0.0}
  message, = caplog.messages
  assert str(tmp_path / 'config.json') in message and 'an earlier version' in message and 'read as version 4' in message
  assert stored(tmp_path).keys() == V1.keys(), 'reading changes nothing'


def test_a_run_of_version_1_goes_on_and_is_stored_as_the_present_one(tmp_path, caplog):
  write(tmp_path, json.dumps(V1))
  with pytest.raises(ConfigError, match='encoder.kind: vit -> resnet'):
    store_config(tmp_path, upgraded(V1) | {'encoder': {'depth': 2, 'kind': 'resnet'}}, free=())
  store_config(tmp_path, upgraded(V1), free=())
  assert stored(tmp_path)['version'] == VERSION
  caplog.clear()
  assert load_config(tmp_path) == upgraded(V1) and not caplog.messages


def test_a_file_of_a_later_version_asks_for_an_update(tmp_path):
  write(tmp_path, json.dumps({'version': VERSION + 1} | CONFIG))
  for reading in (lambda: load_config(tmp_path), lambda: store_config(tmp_path, CONFIG, free=())):
    with pytest.raises(ConfigError, match='config.json: was written by version 5 .*; update maskrep') as failure:
      reading()
    assert '\n' not in str(failure.value)
  assert stored(tmp_path)['version'] == VERSION + 1


# Damage.


@pytest.mark.parametrize(
  'text', ['', '{"seed": 0,', 'null', '[1]', '{"version": "2"}', '{"version": 0}', '{"version": true}'])
def test_a_damaged_file_is_one_line_that_names_it(text, tmp_path):
  write(tmp_path, text)
  for reading in (lambda: load_config(tmp_path), lambda: store_config(tmp_path, CONFIG, free=())):
    with pytest.raises(CheckpointError, match='config.json: is damaged .*; put back a copy') as failure:
      reading()
    assert '\n' not in str(failure.value) and failure.value.exit_code == 4
  assert (tmp_path / 'config.json').read_text() == text


def test_bytes_that_are_no_text_and_a_file_that_cannot_be_opened(tmp_path):
  (tmp_path / 'config.json').write_bytes(b'\xff\xfe{}')
  with pytest.raises(CheckpointError, match='is damaged or cannot be read'):
    load_config(tmp_path)
  (tmp_path / 'config.json').unlink()
  with pytest.raises(ConfigError, match='holds no config.json'):
    load_config(tmp_path)
  (tmp_path / 'config.json').mkdir()
  with pytest.raises(CheckpointError, match='is damaged or cannot be read'):
    load_config(tmp_path)
