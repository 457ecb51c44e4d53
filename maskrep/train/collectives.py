"""Communication of a compiled program between devices, parsed from its HLO text."""

from collections.abc import Iterator
import math
import re
from typing import NamedTuple

_KINDS = 'all-reduce', 'all-gather', 'reduce-scatter', 'all-to-all', 'collective-permute', 'ragged-all-to-all'
_COMPUTATION = re.compile(r'^(ENTRY )?%?([\w.\-]+) \(.*\{$')
_INSTRUCTION = re.compile(r'^(?:ROOT )?%?[\w.\-]+ = (?P<type>\(.*?\)|\S+) (?P<op>[\w\-]+)\(')
_SHAPE = re.compile(r'\b([a-z]+(\d+)\w*|pred)\[([\d,]*)\]')
_CALLED = re.compile(r'(?:body|to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)')
_BRANCHES = re.compile(r'branch_computations=\{([^}]*)\}')
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


class Collective(NamedTuple):
  """One collective of a program.

  Attributes:
    kind: 'all-reduce', 'all-gather', ...
    shapes: shapes of its results on one device; a combined collective has several.
    bytes: bytes of the results on one device, per execution.
    times: executions per run of the program. Loops of unknown length count once; all branches of a conditional count.
  """

  kind: str
  shapes: tuple[tuple[int, ...], ...]
  bytes: int
  times: int


def collectives(hlo: str) -> list[Collective]:
  """All collectives of a compiled program, from `jax.stages.Compiled.as_text()`."""
  bodies, entry, current = {}, '', None
  for line in map(str.strip, hlo.splitlines()):
    if start := _COMPUTATION.match(line):
      current = bodies.setdefault(start[2], [])
      entry = start[2] if start[1] else entry
    elif line == '}':
      current = None
    elif current is not None:
      current.append(line)
  return list(_walk(bodies, entry, 1))


def _walk(bodies: dict[str, list[str]], name: str, times: int) -> Iterator[Collective]:
  for line in bodies[name]:
    instruction = _INSTRUCTION.match(line)
    if not instruction:
      continue
    kind = instruction['op'].removesuffix('-start')
    if kind in _KINDS:
      results = [(int(bits or 8), tuple(map(int, filter(None, dims.split(',')))))
                 for _, bits, dims in _SHAPE.findall(instruction['type'])]
      if instruction['op'].endswith('-start') and kind != 'all-reduce':
        results = results[len(results) // 2:]  # an asynchronous start returns its operands, then its results
      size = sum(bits * math.prod(shape) // 8 for bits, shape in results)
      yield Collective(kind, tuple(shape for _, shape in results), size, times)
      continue
    trips = _TRIPS.search(line) if instruction['op'] == 'while' else None
    called = _CALLED.findall(line) + [n.strip(' %') for group in _BRANCHES.findall(line) for n in group.split(',')]
    for inner in called:
      if inner in bodies:
        yield from _walk(bodies, inner, times * (int(trips[1]) if trips else 1))
