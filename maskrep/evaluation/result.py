"""The results of an evaluation, and their record in `evaluations.jsonl`."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from maskrep.workdir.files import append_json

FILE = 'evaluations.jsonl'


class Result(NamedTuple):
  """One number: a share in [0, 1], unless its name says otherwise.

  Attributes:
    std: standard deviation over the repetitions in `each`, or over images.
    note: choices made on the way, such as hyper-parameters.
  """

  name: str
  value: float
  std: float | None = None
  each: tuple[float, ...] = ()
  note: str = ''


def from_repetitions(name: str, values, note: str = '') -> Result:
  """The result of repetitions: their mean, standard deviation (divided by n) and values."""
  values = np.asarray(values, float)
  return Result(name, float(values.mean()), float(values.std()), tuple(map(float, values)), note)


def render(results: list[Result]) -> str:
  """Formats one line per result, in per cent."""
  width = max(len(result.name) for result in results)
  return '\n'.join(
    f'{result.name:<{width}}  {100 * result.value:6.2f}' + ('' if result.std is None else f' ± {100 * result.std:.2f}')
    for result in results)


def append(workdir: Path, results: list[Result], **fields) -> None:
  """Appends a record; `fields` are plain data."""
  append_json(workdir / FILE, fields | {'figures': [result._asdict() for result in results]})
