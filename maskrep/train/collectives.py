"""Communication of a compiled program between devices, parsed from its HLO text."""

from typing import NamedTuple

from maskrep.train.hlo import instructions

_KINDS = 'all-reduce', 'all-gather', 'reduce-scatter', 'all-to-all', 'collective-permute', 'ragged-all-to-all'


class Collective(NamedTuple):
  """One collective of a program.

  Attributes:
    kind: 'all-reduce', 'all-gather', ...
    shapes: of its results on one device; a combined collective has several.
    bytes: of the results on one device, per execution.
    times: executions per run of the program, see `hlo.Instruction`.
  """

  kind: str
  shapes: tuple[tuple[int, ...], ...]
  bytes: int
  times: int


def collectives(hlo: str) -> list[Collective]:
  """All collectives of a compiled program, from `jax.stages.Compiled.as_text()`."""
  found = []
  for one in instructions(hlo):
    kind, results = one.op.removesuffix('-start'), one.shapes
    if kind in _KINDS:
      if one.op.endswith('-start') and kind != 'all-reduce':
        results = results[len(results) // 2:]  # an asynchronous start returns its operands, then its results
      found.append(Collective(kind, tuple(shape.dims for shape in results), sum(shape.bytes for shape in results),
                              one.times))
  return found
