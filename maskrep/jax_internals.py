"""All uses of jax names outside its stable API, so that a new version of jax changes this file alone.

Tested with jax 0.10, where a `ClosedJaxpr` wraps a `Jaxpr`, and with 0.12, where both are one class.
"""

from collections.abc import Iterator
import importlib

import jax
from jax.extend.core import Jaxpr, JaxprEqn, jaxprs_in_params
from jax.interpreters import mlir, partial_eval
from jaxlib.mlir import passmanager
from jaxlib.mlir.dialects import stablehlo


def live_equations(traced: jax.stages.Traced) -> list[JaxprEqn]:
  """The equations of a traced function on which its results depend, those of inner programs included."""
  found = traced.jaxpr
  # Both classes have these attributes. The name of the program inside a `ClosedJaxpr` is about to be removed from jax.
  program = Jaxpr(found.constvars, found.invars, found.outvars, found.eqns, found.effects, found.debug_info)
  live, _ = partial_eval.dce_jaxpr(program, [True] * len(program.outvars))
  return live.eqns


def inner_equations(equation: JaxprEqn) -> Iterator[list[JaxprEqn]]:
  """The equations of each program that an equation runs: the body of a loop, the branches of a condition."""
  for inner in jaxprs_in_params(equation.params):
    yield inner.eqns


def portable(exported: jax.export.Exported, version: str) -> bytes:
  """An exported program as StableHLO of this version, without composites."""
  stablehlo.register_stablehlo_passes()
  with mlir.make_ir_context():
    module = mlir.ir.Module.parse(exported.mlir_module())
    # TensorFlow does not propagate the batch size into composites, such as that for erf.
    passes = 'func.func(stablehlo-legalize-composite-to-call),inline'
    passmanager.PassManager.parse(f'builtin.module({passes})').run(module.operation)
    return stablehlo.serialize_portable_artifact(module, version)


def topology_devices(platform: str, **asked: str) -> list:
  """Devices to compile for that are not here; raises ImportError if the compiler is not installed."""
  from jax.experimental import topologies

  libraries = {'tpu': 'libtpu', 'cuda': 'jax_plugins'}
  importlib.import_module(libraries[platform])
  return list(topologies.get_topology_desc(platform=platform, **asked).devices)
