"""What an evaluation found, with all that it takes to repeat it: a line of `evaluations.jsonl`."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from maskrep.workdir.files import append_json

FILE = 'evaluations.jsonl'


class Figure(NamedTuple):
  """One number: a share in [0, 1], unless its name says otherwise; `std` is over the repetitions in `each`.

  `note` has what was chosen on the way.
  """

  name: str
  value: float
  std: float | None = None
  each: tuple[float, ...] = ()
  note: str = ''


def repeated(name: str, values, note: str = '') -> Figure:
  """The mean of repetitions, their standard deviation (about that mean, divided by n) and all of them."""
  values = np.asarray(values, float)
  return Figure(name, float(values.mean()), float(values.std()), tuple(map(float, values)), note)


def render(figures: list[Figure]) -> str:
  """A line a figure, in per cent."""
  width = max(len(figure.name) for figure in figures)
  return '\n'.join(
    f'{figure.name:<{width}}  {100 * figure.value:6.2f}' + ('' if figure.std is None else f' ± {100 * figure.std:.2f}')
    for figure in figures)


def append(workdir: Path, figures: list[Figure], **said) -> None:
  """Adds a record; `said` is plain data."""
  append_json(workdir / FILE, said | {'figures': [figure._asdict() for figure in figures]})
