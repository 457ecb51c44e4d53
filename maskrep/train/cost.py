"""Cost of a program: floating-point operations of its matrix products and convolutions, and its memory."""

import math

import jax

from maskrep.jax_internals import inner_equations, live_equations


def matmul_flops(traced: jax.stages.Traced) -> int:
  """Operations (2 per multiply-add) of all products and convolutions in a function, including derivatives in it.

  Element-wise operations are not counted, as in the literature's model FLOPs. A loop counts once per iteration; a
  `while_loop`, whose length is unknown, counts once; of a `cond` the most expensive branch counts. Dead code is not
  counted, as the compiler removes it.
  """
  return _count(live_equations(traced))


def compiled(lowered: jax.stages.Lowered) -> jax.stages.Compiled | None:
  """The compiled program; None if the compiler refuses it, as it needs more memory than a device has."""
  try:
    return lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' in str(error):
      return None
    raise


def memory(compiled: jax.stages.Compiled) -> tuple[int, int] | None:
  """Returns bytes per device, as compiled: (arguments, temporaries and results that do not reuse an argument's memory).

  None if the compiler does not report them.
  """
  if (analysis := compiled.memory_analysis()) is None:
    return None
  return (analysis.argument_size_in_bytes,
          analysis.temp_size_in_bytes + analysis.output_size_in_bytes - analysis.alias_size_in_bytes)


def peak_bytes() -> int | None:
  """Peak memory so far of this process's fullest device, as reported by the device; None if none reports it."""
  stats = [device.memory_stats() or {} for device in jax.local_devices()]
  return max((each['peak_bytes_in_use'] for each in stats if 'peak_bytes_in_use' in each), default=None)


def _count(equations) -> int:
  total = 0
  for equation in equations:
    kind, params = equation.primitive.name, equation.params
    if kind == 'dot_general':
      (contracted, _), _ = params['dimension_numbers']
      left = equation.invars[0].aval.shape
      total += 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[d] for d in contracted)
    elif kind == 'conv_general_dilated':
      kernel = equation.invars[1].aval.shape
      outputs = params['dimension_numbers'].rhs_spec[0]
      total += 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(kernel) // kernel[outputs]
    elif kind.startswith('dot_product_attention'):  # cuDNN's: two products, whose gradient is four
      (batch, queries, heads, width), keys = equation.invars[0].aval.shape, equation.invars[1].aval.shape[1]
      total += 2 * batch * queries * keys * heads * width * (4 if '_bwd' in kind else 2)
    else:
      inner = [_count(each) for each in inner_equations(equation)]
      total += max(inner) if kind == 'cond' else sum(inner) * (params['length'] if kind == 'scan' else 1)
  return total
