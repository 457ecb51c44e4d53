"""Estimates of the time of a step on an accelerator that is not here, from the program compiled for it."""

from collections import defaultdict
from collections.abc import Mapping
import math
import re
from typing import NamedTuple

from maskrep.train.hlo import Instruction, Shape, instructions

# Each of their computations is executed by a kernel of its own.
_CONTROL = 'while', 'call', 'conditional'
_ATTENTION = '__cudnn$fmhaSoftmax'
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_LABEL = re.compile(r'op_name="([^"]*)"')
_CONTRACTED = re.compile(r'"lhs_contracting_dimensions":\[([^\]]*)\]')
# Instructions of a GPU program that move nothing.
_FREE = {'parameter', 'constant', 'bitcast', 'tuple', 'get-tuple-element', 'after-all', 'partition-id', 'replica-id'}
_LAUNCH_S = 2e-6
# The share of its peak that a GPU reaches in large products, as cuBLAS does: bfloat16, float32 by TF32.
_REACHED = 0.75, 0.7
PRODUCTS, COPIES, OTHERS = 'matrix products', 'copies', 'element-wise and others'


class Estimate(NamedTuple):
  """The time of a step.

  Attributes:
    seconds: of the whole step.
    parts: the seconds of each of `PRODUCTS`, `COPIES` and `OTHERS` that occurs, the longest first.
  """

  seconds: float
  parts: dict[str, float]


def by_cycles(hlo: str, clock: float) -> Estimate:
  """The TPU compiler's own estimate: its cycles at `clock` Hz. Waits for memory that it hides are not in it."""
  cycles = defaultdict(int)
  for one in instructions(hlo, _CONTROL):
    if found := _CYCLES.search(one.line):
      cycles[_part(one)] += int(found[1]) * one.times
  return _estimate({part: count / clock for part, count in cycles.items()})


def by_roofline(hlo: str, flops: float, bandwidth: float) -> Estimate:
  """A lower bound for a GPU: per kernel the larger of bytes / bandwidth and operations / peak.

  Args:
    flops: bfloat16 operations per second, at most; half of that is assumed for float32, by TF32.
    bandwidth: of the memory, in bytes per second. A kernel reads each operand and writes each result once.
  """
  seconds = defaultdict(float)
  for one in instructions(hlo, (*_CONTROL, 'async-start')):
    if one.op in _FREE or one.op in _CONTROL or one.op.endswith(('-done', 'async-start')) or one.op.startswith('all-'):
      continue
    product = one.op == 'custom-call' and _ATTENTION not in one.line and _part(one) == PRODUCTS
    results = one.shapes[:1] if product else one.shapes  # the others are work space
    moved = _bytes(results) + _bytes(one.operands)
    if 'dynamic_update_slice' in one.line or 'dynamic-update-slice' in one.line:
      moved = min(moved, 2 * sum(each.bytes for each in one.operands if each.bytes < _bytes(results)))  # in place
    elif 'dynamic-slice' in one.line.partition('calls')[0]:
      moved = min(moved, 2 * _bytes(results))
    time = moved / bandwidth
    if _ATTENTION in one.line:
      time = max(time, _attention(one) / (flops * _REACHED[0]))
    if product and (contracted := _CONTRACTED.search(one.line)):
      left = one.operands[0]
      inner = math.prod(left.dims[int(d)] for d in contracted[1].replace('"', '').split(',') if d)
      speed = flops * _REACHED[0] if left.kind in ('bf16', 'f16') else flops / 2 * _REACHED[1]
      time = max(time, 2 * math.prod(results[0].dims) * inner / speed)
    seconds[_part(one)] += (time + _LAUNCH_S) * one.times
  return _estimate(seconds)


def _part(one: Instruction) -> str:
  label = _LABEL.search(one.line)
  named = label and re.search('dot_general|conv_general', label[1])
  if named or any(product in one.line for product in ('matmul', 'convolution', _ATTENTION)):
    return PRODUCTS
  return COPIES if one.op in ('copy', 'transpose') else OTHERS


def _attention(one: Instruction) -> int:
  """Operations of cuDNN's fused attention: two products forwards, five backwards, which computes the scores again."""
  (batch, queries, heads, width), keys = one.operands[0].dims, one.operands[1].dims[1]
  return 2 * batch * heads * queries * keys * width * (5 if f'{_ATTENTION}Backward' in one.line else 2)


def _bytes(shapes: tuple[Shape, ...]) -> int:
  return sum(shape.bytes for shape in shapes)


def _estimate(seconds: Mapping[str, float]) -> Estimate:
  return Estimate(sum(seconds.values()), dict(sorted(seconds.items(), key=lambda item: -item[1])))
