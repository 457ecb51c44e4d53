"""What an evaluation found."""

from typing import NamedTuple


class Figure(NamedTuple):
  name: str
  value: float
  std: float | None = None
  each: tuple[float, ...] = ()
