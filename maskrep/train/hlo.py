"""The text of a compiled program: its computations, and how often each of their instructions is executed."""

from collections.abc import Iterator
import math
import re
from typing import NamedTuple

_COMPUTATION = re.compile(r'^(ENTRY )?%?([\w.\-]+) \(.*\{$')
_INSTRUCTION = re.compile(r'^(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*?)\)(?:, |$)')
_SHAPE = re.compile(r'\b([a-z]+(\d+)\w*|pred)\[([\d,]*)\]')
_CALLED = re.compile(r'(?:body|to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)')
_BRANCHES = re.compile(r'branch_computations=\{([^}]*)\}')
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_BOUND = re.compile(r'= s32\[\]\S* constant\((\d+)\)')
_CONDITION = re.compile(r'condition=%?([\w.\-]+)')


class Shape(NamedTuple):
  """The type of an array: 'f32', 'pred', ..., and its dimensions."""

  kind: str
  dims: tuple[int, ...]
  bytes: int


class Instruction(NamedTuple):
  """One instruction of a program.

  Attributes:
    op: its operation, such as 'fusion', 'dot', 'all-reduce'.
    shapes: of its results.
    operands: the shapes of its operands.
    line: its text.
    times: executions per run of the program; a loop of unknown length counts once, all branches of a conditional count.
  """

  op: str
  shapes: tuple[Shape, ...]
  operands: tuple[Shape, ...]
  line: str
  times: int


def shapes(text: str) -> tuple[Shape, ...]:
  """The arrays of a type, which may be a tuple."""
  found = []
  for kind, bits, dims in _SHAPE.findall(text):
    sizes = tuple(map(int, filter(None, dims.split(','))))
    found.append(Shape(kind, sizes, int(bits or 8) * math.prod(sizes) // 8))
  return tuple(found)


def instructions(hlo: str, inside: tuple[str, ...] = ()) -> Iterator[Instruction]:
  """All instructions of a compiled program, from `jax.stages.Compiled.as_text()`.

  Args:
    inside: operations whose computations are gone through too; all, if it is empty.
  """
  bodies, entry, current = {}, '', None
  for line in map(str.strip, hlo.splitlines()):
    if start := _COMPUTATION.match(line):
      current = bodies.setdefault(start[2], [])
      entry = start[2] if start[1] else entry
    elif line == '}':
      current = None
    elif current is not None:
      current.append(line)
  yield from _walk(bodies, entry, 1, inside)


def _walk(bodies: dict[str, list[str]], name: str, times: int, inside: tuple[str, ...]) -> Iterator[Instruction]:
  types = {}
  for line in bodies[name]:
    if not (match := _INSTRUCTION.match(line)):
      continue
    own, kind, op, arguments = match.groups()
    types[own] = shapes(kind)
    operands = tuple(shape for name in re.findall(r'%([\w.\-]+)', arguments) for shape in types.get(name, ()))
    yield Instruction(op, types[own], operands, line, times)
    if inside and op not in inside:
      continue
    repeated = times * (_trips(bodies, line) or 1) if op == 'while' else times
    for inner in _CALLED.findall(line) + [n.strip(' %') for group in _BRANCHES.findall(line) for n in group.split(',')]:
      if inner in bodies:
        yield from _walk(bodies, inner, repeated, inside)


def _trips(bodies: dict[str, list[str]], line: str) -> int | None:
  """The length of a loop: the compiler's, or the bound that its condition compares a counter with."""
  if known := _TRIPS.search(line):
    return int(known[1])
  condition = _CONDITION.search(line)
  body = bodies.get(condition[1], []) if condition else []
  bounds = [int(bound[1]) for bound in map(_BOUND.search, body) if bound]
  return bounds[0] if len(bounds) == 1 and any('direction=LT' in each for each in body) else None
