"""Sections become checked objects: types and ranges from annotations, one line per error, nothing left unread."""

import dataclasses
from typing import Annotated

from flax import linen as nn
from ml_collections import ConfigDict
import pytest

from maskrep.errors import ConfigError
from maskrep.schema import (
  Count,
  NonNegative,
  NonNegativeInt,
  NotEmpty,
  OneOf,
  Positive,
  Probability,
  Range,
  Reader,
  Scale,
  Share,
  build,
  check,
)

pytestmark = pytest.mark.quick


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
  ratio: Share = 0.3
  flip: Probability = 1.0
  rate: Positive = 0.1
  decay: NonNegative = 0.0
  size: Count = 12
  layers: NonNegativeInt = 0
  scale: Scale = (0.3, 1.0)
  kind: Annotated[str, OneOf(('vit', 'cait'))] = 'vit'
  shots: Annotated[tuple[Count, ...], NotEmpty('(1, 5)')] = (1, 2)
  mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
  folds: Annotated[int, Range(2, 9)] = 5

  __post_init__ = check


class Module(nn.Module):
  width: Count

  def __post_init__(self):
    check(self)
    super().__post_init__()


@pytest.mark.parametrize(('field', 'value', 'message'), [
  ('ratio', 1.0, 'must be in [0, 1), for example 0.3'), ('ratio', float('nan'), 'must be finite and in [0, 1)'),
  ('flip', 1.5, 'must be in [0, 1]'), ('rate', 0.0, 'must be above 0'), ('rate', float('inf'), 'must be finite and'),
  ('decay', -1e-9, 'must be at least 0'), ('size', 0, 'must be at least 1'), ('layers', -1, 'must be at least 0'),
  ('scale', (0.9, 0.3), 'must be rising within (0, 1], for example (0.3, 1.0)'),
  ('scale', (0.0, 1.0), 'must be rising'),
  ('kind', 'resnet', 'must be one of vit, cait'), ('shots', (), 'must be at least one value, for example (1, 5)'),
  ('shots', (1, 0), 'each must be at least 1'), ('folds', 10, 'must be in [2, 9]')])
def test_a_value_out_of_range_is_one_line(field, value, message):
  with pytest.raises(ValueError) as error:
    Section(**{field: value})
  assert str(error.value).startswith(f'{field}={value!r}: ') and message in str(error.value)
  with pytest.raises(ConfigError) as error:
    build(Section, {field: value}, 'config.section')
  assert str(error.value).startswith(f'config.section.{field}={value!r}: ') and message in str(error.value)


@pytest.mark.parametrize(('field', 'value', 'message'), [
  ('ratio', '0.3', 'must be a number, not str'), ('size', 1.0, 'must be a whole number, not float'),
  ('size', True, 'must be a whole number, not bool'), ('flip', False, 'must be a number, not bool'),
  ('mean', (0.5,), 'must be three numbers, as (0.5, 0.5, 0.5)'),
  ('scale', [0.3, 1.0], 'must be two numbers, as (0.3, 1.0), not list'), ('kind', 3, 'must be text, not int'),
  ('shots', (1.5,), 'must be a tuple of whole numbers')])
def test_a_value_of_another_type_is_one_line(field, value, message):
  with pytest.raises(ConfigError) as error:
    build(Section, {field: value}, 'config.section')
  assert str(error.value) == f'config.section.{field}={value!r}: {message}'


def test_whole_numbers_are_numbers_and_the_ends_of_ranges_belong_to_them():
  found = build(Section, {'ratio': 0, 'flip': 1, 'folds': 9, 'scale': (1, 1)}, 'config.section')
  assert (found.ratio, found.flip, found.folds, found.scale) == (0, 1, 9, (1, 1))


def test_modules_check_themselves_wherever_they_are_made():
  assert Module(width=1).clone().width == 1
  for make in (lambda: Module(width=0), lambda: Module(width=3).clone(width=0),
               lambda: build(Module, {'width': 0}, 'config.head')):
    with pytest.raises(ValueError if make.__code__.co_names[0] == 'Module' else ConfigError, match='width=0: must be'):
      make()


def test_names_that_nobody_knows_get_the_nearest():
  with pytest.raises(ConfigError, match=r'^config.section.ratoi=0.3: nothing reads this field; did you mean.*ratio'):
    build(Section, {'ratoi': 0.3}, 'config.section')
  with pytest.raises(ConfigError, match=r'^config.head.width: is missing; add it'):
    build(Module, {}, 'config.head')


def test_a_reader_reads_each_section_once_and_misses_none():
  config = ConfigDict({'seed': 3, 'section': {'size': 4}, 'sectoin': {'size': 5}})
  read = Reader(config.to_dict())
  section = read('section', Section, ratio=0.5)
  assert section is read['section'] and (section.size, section.ratio) == (4, 0.5)
  assert read.value('seed', NonNegativeInt) == 3
  with pytest.raises(ConfigError, match=r'^config.sectoin: nothing reads this field; did you mean section\?'):
    read.finish()
  with pytest.raises(ConfigError, match=r'^config.sectio: is missing; is sectoin misspelt\?'):
    read('sectio', Section)
  with pytest.raises(ConfigError, match=r'^config.seed=3: must be a section'):
    read('seed', Section)
  assert 'sectoin' in read and 'other' not in read
  read.finish()


def test_a_field_outside_of_all_sections_is_checked_too():
  read = Reader({'seed': -1, 'batch_size': 1.5, 'compute_dtype': 'float8'})
  with pytest.raises(ConfigError, match=r'^config.seed=-1: must be at least 0'):
    read.value('seed', NonNegativeInt)
  with pytest.raises(ConfigError, match=r'^config.batch_size=1.5: must be a whole number'):
    read.value('batch_size', Count)
  with pytest.raises(ConfigError, match=r"^config.compute_dtype='float8': must be one of auto, float32, bfloat16"):
    read.dtype  # noqa: B018
