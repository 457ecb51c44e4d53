"""The charts of the page, by hand."""

import math
from xml.etree import ElementTree

import pytest

from maskrep.page.chart import BOTTOM, HEIGHT, LEFT, MOST, RIGHT, TOP, WIDTH, chart, thinned, ticks

pytestmark = pytest.mark.quick


def points(element) -> list[tuple[float, float]]:
  return [tuple(map(float, pair.split(','))) for pair in element.get('points').split()]


def test_lines_are_where_their_values_are():
  svg = ElementTree.fromstring(chart({'a<b': [(0, 1.0), (50, 2.0), (100, 3.0)], 'b': [], 'c': [(50, 2.5)]}, 0.0))
  first, second, third = svg.findall('g')
  bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
  height = bottom - TOP
  assert points(first.find('polyline')) == [
    pytest.approx(each, abs=0.06) for each in (
      (LEFT, bottom - height / 3), ((LEFT + right) / 2, bottom - height * 2 / 3), (right, TOP))]
  assert [group.get('class') for group in (first, second, third)] == ['c0', 'c1', 'c2'] and not list(second)
  assert third.find('polyline') is None and len(third.findall('circle')) == 1 and len(first.findall('circle')) == 3
  assert first.find('title').text == 'a<b: 3 at step 100'
  dashed, = (line for line in svg.findall('line') if line.get('class') == 'threshold')
  assert float(dashed.get('y1')) == bottom
  labels = {text.text: (float(text.get('x')), float(text.get('y'))) for text in svg.findall('text')}
  assert labels['2'][1] == pytest.approx(bottom - height * 2 / 3 + 3, abs=0.06) and '50' in labels
  assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in labels.values())


def test_values_that_are_not_finite_interrupt_a_line():
  svg = ElementTree.fromstring(chart({'a': [(0, 1.0), (1, 2.0), (2, math.nan), (3, math.inf), (4, 5.0), (5, 4.0)]}))
  assert [len(points(line)) for line in svg.iter('polyline')] == [2, 2]
  assert 'no finite value' in chart({'a': [(0, math.nan)]}) and 'no finite value' in chart({})
  assert '<circle' in chart({'a': [(7, 0.5)]})


def test_thinning_keeps_the_peaks_and_the_ends_of_a_long_line():
  long = [(step, math.sin(step / 900)) for step in range(10_000)]
  long[5_001] = (5_001, 9.0)
  kept = thinned(long)
  assert MOST / 2 < len(kept) <= MOST and (5_001, 9.0) in kept and kept == sorted(kept)
  assert min(value for _, value in kept) == min(value for _, value in long)
  assert thinned(long[:MOST]) == long[:MOST]


def test_values_that_are_not_finite_hide_no_peak():
  """NaN compares as False, so a plain maximum of an interval that begins with NaN is NaN."""
  long = [(step, math.nan if step % 50 == 0 else step % 7) for step in range(10_001)]
  long[5_001], long[-1] = (5_001, 9.0), (10_000, 3.0)
  kept = thinned(long)
  assert (5_001, 9.0) in kept and kept[-1] == (10_000, 3.0)
  assert [step for step, _ in kept] == sorted(step for step, _ in kept)
  assert sum(math.isnan(value) for _, value in kept) > 150


@pytest.mark.parametrize(('low', 'high', 'expected'), [
  (0, 1, [0, 0.5, 1]), (0.31, 0.69, [0.4, 0.5, 0.6]), (0, 1000, [0, 500, 1000]), (-2, 2, [-2, -1, 0, 1, 2])])
def test_ticks_are_round_and_within(low, high, expected):
  assert ticks(low, high) == pytest.approx(expected)
