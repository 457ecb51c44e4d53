"""Charts of curves as inline SVG, without scripts. The page colours line i by its class `c0`, `c1`, ..."""

from collections.abc import Mapping, Sequence
import math
from xml.etree import ElementTree

from matplotlib.ticker import MaxNLocator

Points = Sequence[tuple[int, float]]  # (step, value)

WIDTH, HEIGHT = 340, 180
LEFT, RIGHT, TOP, BOTTOM = 48, 10, 8, 20  # margins
COLOURS = 8  # that the page has
MOST = 400  # points of a line
FEW = 20  # points that are marked one by one


def chart(lines: Mapping[str, Points], threshold: float | None = None) -> str:
  """Draws one line per run, over steps.

  Args:
    lines: name of the run -> its points, in the order of steps; {} or no points leave its colour unused. Values that
      are not finite interrupt the line.
    threshold: a value that is drawn as a dashed line.

  Returns:
    An element <svg>, as text.
  """
  shown = {name: [each for each in thinned(points) if math.isfinite(each[1])] for name, points in lines.items()}
  values = [value for points in shown.values() for _, value in points]
  steps = [step for points in shown.values() for step, _ in points]
  svg = ElementTree.Element('svg', viewBox=f'0 0 {WIDTH} {HEIGHT}', role='img')
  if not values:
    _text(svg, 'no finite value', WIDTH / 2, HEIGHT / 2, 'middle')
    return ElementTree.tostring(svg, encoding='unicode')
  x = _axis(steps, LEFT, WIDTH - RIGHT)
  values += [] if threshold is None else [threshold]
  y = _axis(values, HEIGHT - BOTTOM, TOP)
  _grid(svg, x, y, steps, values)
  if threshold is not None:
    _line(svg, (LEFT, y(threshold)), (WIDTH - RIGHT, y(threshold)), 'threshold')
  for i, (name, points) in enumerate(lines.items()):
    _curve(svg, f'c{i % COLOURS}', name, thinned(points), x, y)
  return ElementTree.tostring(svg, encoding='unicode')


def thinned(points: Points) -> Points:
  """At most about 1.5 `MOST` points: of each interval the lowest, the highest and one that is not finite; and the last.

  So no peak and no interruption is lost.
  """
  if len(points) <= MOST:
    return points
  size = -(-len(points) // (MOST // 2))
  kept = []
  for start in range(0, len(points), size):
    part = points[start:start + size]
    finite = [each for each in part if math.isfinite(each[1])]
    ends = {min(finite, key=lambda each: each[1]), max(finite, key=lambda each: each[1])} if finite else set()
    gap = next((each for each in part if not math.isfinite(each[1])), None)
    kept += sorted(ends | ({gap} if gap else set()), key=lambda each: each[0])
  return kept if kept[-1][0] == points[-1][0] else [*kept, points[-1]]


def ticks(low: float, high: float) -> list[float]:
  """Round numbers within a range."""
  places = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low, high)
  room = 1e-9 * (high - low)
  return [float(place) for place in places if low - room <= place <= high + room]


def _axis(values: Sequence[float], start: float, end: float):
  """A function from values to pixels. A single value is in the middle."""
  low, high = min(values), max(values)
  if high == low:
    return lambda value: (start + end) / 2
  return lambda value: round(start + (value - low) / (high - low) * (end - start), 1)


def _grid(svg, x, y, steps: Sequence[int], values: Sequence[float]) -> None:
  for value in ticks(min(values), max(values)) or values[:1]:
    _line(svg, (LEFT, y(value)), (WIDTH - RIGHT, y(value)), 'grid')
    _text(svg, f'{value:g}', LEFT - 4, y(value) + 3, 'end')
  for step in [step for step in ticks(min(steps), max(steps)) if step == int(step)] or steps[:1]:
    # A label near the right edge would be clipped if it were centred.
    _text(svg, f'{int(step):,}', x(step), HEIGHT - 6, 'end' if x(step) > WIDTH - 30 else 'middle')


def _curve(svg, colour: str, name: str, points: Points, x, y) -> None:
  """Each run of finite values as a line; few points, and those without neighbours, as dots too."""
  group = ElementTree.SubElement(svg, 'g', {'class': colour})
  parts: list[list[tuple[int, float]]] = [[]]
  for step, value in points:
    if math.isfinite(value):
      parts[-1].append((step, value))
    elif parts[-1]:
      parts.append([])
  if parts[-1]:
    ElementTree.SubElement(group, 'title').text = f'{name}: {parts[-1][-1][1]:.4g} at step {parts[-1][-1][0]:,}'
  for part in parts:
    if len(part) > 1:
      ElementTree.SubElement(group, 'polyline', points=' '.join(f'{x(step)},{y(value)}' for step, value in part))
    for step, value in part if len(points) < FEW or len(part) == 1 else ():
      ElementTree.SubElement(group, 'circle', cx=str(x(step)), cy=str(y(value)), r='2')


def _line(svg, start: tuple[float, float], end: tuple[float, float], kind: str) -> None:
  ElementTree.SubElement(svg, 'line', {'class': kind, 'x1': str(start[0]), 'y1': str(start[1]), 'x2': str(end[0]),
                                       'y2': str(end[1])})


def _text(svg, text: str, x: float, y: float, anchor: str) -> None:
  ElementTree.SubElement(svg, 'text', {'x': str(x), 'y': str(y), 'text-anchor': anchor}).text = text
