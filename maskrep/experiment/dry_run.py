"""The cost of a run before it runs: compiles the step of the real config, without data."""

from collections import Counter
from collections.abc import Iterator
import math
import os
import statistics
import time

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from maskrep.compiled_for import compiling_for
from maskrep.data.datasets import Data, open_source
from maskrep.data.sources.scene_folders import BENCHMARKS
from maskrep.devices.distributed import device_table
from maskrep.devices.mesh import make_mesh
from maskrep.devices.topology import Topology, topology
from maskrep.errors import ConfigError, RunError
from maskrep.experiment.experiment import Experiment
from maskrep.experiment.fit import fit, step_fits
from maskrep.process.working import working
from maskrep.train import cost, estimate
from maskrep.train.collectives import collectives
from maskrep.train.program import Program

# Published sizes, used if the data are not on this machine.
EXAMPLES = {('tfds:imagenet2012', 'train'): 1_281_167}
ELSEWHERE = 'tfds', 'folder', 'uned', 'task', *BENCHMARKS  # kinds of sources that may lie on another machine
TIMED_STEPS = 5


def dry_run(config: ConfigDict, machine: str | None = None, *, search: bool = False) -> str:
  """The report, for the devices of this process, or those of a topology, see `devices.topology`.

  Args:
    search: whether options are searched with which the step fits the topology, see `fit`.

  Raises:
    ConfigError: the config cannot be right, or does not fit the devices; there is no such topology.
  """
  if machine is None:
    return _report(config, None)
  there = topology(machine)
  with compiling_for(there.machine.platform):
    if not search:
      return _report(config, there)
    config, changes = fit(config, len(there.devices), lambda config: step_fits(
      config, there.devices, there.machine.memory, there.lowers_for))
    given = ' '.join(f'--config.{field}={value}' for field, value in changes.items()) or 'as it is'
    return _report(config, there) + '\n' + _line('fits', given)


def _report(config: ConfigDict, there: Topology | None) -> str:
  experiment = Experiment.parse(config)
  devices = there.devices if there else jax.devices()
  experiment.check_devices(len(devices))
  data = experiment.data
  examples, known = _examples(data)
  program = experiment.program(examples or experiment.batch_size, make_mesh(experiment.train.fsdp, devices))
  started = time.perf_counter()
  traced = program.trace(data.canvas)
  flops = cost.matmul_flops(traced)
  lowered = traced.lower(lowering_platforms=(there.lowers_for,)) if there else traced.lower()
  with working('compiling the training step'):
    compiled = cost.compiled(lowered)
  if compiled is None:
    remedy = 'try --fit' if there else 'lower train.microbatch, or set encoder.remat'
    raise ConfigError(f'config.batch_size={experiment.batch_size}: the step needs more memory than a device has; '
                      f'{remedy}')
  lines = [
    f'{len(devices)} x {devices[0].device_kind}, not here: compiled for' if there else device_table(),
    _line('parameters', _parameters(program)),
    _line('computation', f'{_si(flops / experiment.batch_size)}FLOP per image, {_si(flops)}FLOP per step of '
          f'{experiment.batch_size}, in {jnp.dtype(experiment.dtype).name} (matrix products and convolutions)'),
    _line('memory', _memory(compiled, there)),
    *(_line('' if i else 'sent', line) for i, line in enumerate(_sent(compiled.as_text()))),
    _line('schedule', known if examples is None else
          f'{known}: {program.total_steps} steps for {experiment.train.epochs:g} epochs, warm-up '
          f'{program.warmup_steps}, a checkpoint every {experiment.train.checkpoint_every_steps}, an evaluation every '
          f'{experiment.eval.every_steps}'),
    _line('compilation', f'{time.perf_counter() - started:.0f} s'),
  ]
  if there:
    lines += _estimate(compiled.as_text(), there, flops / len(devices), experiment.batch_size,
                       program.total_steps if examples else 0)
  elif jax.default_backend() != 'cpu':
    seconds = _step_seconds(program, compiled, data.canvas)
    whole = f', {seconds * program.total_steps / 3600:.1f} h for the whole run' if examples else ''
    lines.append(_line('time', f'{seconds:.3f} s per step, {experiment.batch_size / seconds:.0f} images/s{whole}, '
                       'without evaluation and waiting for data'))
  return '\n'.join(lines)


def _line(name: str, text: str) -> str:
  return f'{name:<12} {text}'


def _examples(data: Data) -> tuple[int | None, str]:
  """The number of examples, None if the data are not on this machine, and where the number comes from."""
  try:
    count = len(open_source(data, data.train_split))
    return count, f'{count} examples'
  except RunError:
    if data.source.partition(':')[0] not in ELSEWHERE:
      raise
    count = EXAMPLES.get((data.source, data.train_split))
    where = f'{data.source} is not on this machine'
    return count, f'{count} examples (as published; {where})' if count else f'unknown, as {where}'


def _parameters(program: Program) -> str:
  count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))  # noqa: E731
  return (f'{_si(count(program.state.params))}' + ' (' + ', '.join(
    f'{name} {_si(count(part))}' for name, part in program.state.params.items()) + '), and as many in the teacher')


def _estimate(hlo: str | None, there: Topology, flops: float, batch_size: int, steps: int) -> Iterator[str]:
  """Lines on time: estimates, and what limits them. `flops` are those of a step on one device."""
  machine = there.machine
  if hlo is None:
    return
  if machine.platform == 'tpu':
    found, by = estimate.by_cycles(hlo, machine.clock), "the compiler's cycles, without waiting for memory"
  else:
    found, by = estimate.by_roofline(hlo, machine.flops, machine.bandwidth), 'bytes and operations of each kernel'
  whole = f', {found.seconds * steps / 3600:.3g} h for the whole run' if steps else ''
  yield _line('estimate', f'at least {found.seconds:.3g} s per step, at most {batch_size / found.seconds:.0f} images/s'
              f'{whole}; by {by}: no measurement')
  share = flops / machine.flops / found.seconds
  yield _line('', f'{share:.1%} of the peak of {_si(machine.flops)}FLOP/s; ' + ', '.join(
    f'{part} {seconds / found.seconds:.0%}' for part, seconds in found.parts.items()))


def _memory(compiled: jax.stages.Compiled, there: Topology | None) -> str:
  if (memory := cost.memory(compiled)) is None:
    return 'not reported by the compiler'
  state, rest = memory
  stats = jax.local_devices()[0].memory_stats()
  if there:
    fits = 'fits' if state + rest <= there.machine.memory else 'DOES NOT FIT'
    has = f'it has {_si(there.machine.memory)}B: {fits}'
  elif stats and 'bytes_limit' in stats:
    has = f'it has {_si(stats["bytes_limit"])}B'
  elif jax.default_backend() == 'cpu':
    has = f'this machine has {_si(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))}B for all devices'
  else:
    has = 'its memory is not known'
  return f'{_si(state + rest)}B per device: state and batch {_si(state)}B, temporaries {_si(rest)}B; {has}'


def _sent(hlo: str | None) -> list[str]:
  """The bytes that devices send each other, one line per kind of collective.

  Args:
    hlo: the text of the compiled step; None if the backend does not provide it.
  """
  if hlo is None:
    return ['unknown, as this backend does not show the compiled step']
  times, size = Counter(), Counter()
  for one in collectives(hlo):
    times[one.kind] += one.times
    size[one.kind] += one.bytes * one.times
  return [f'{_si(size[kind])}B per step and device by {times[kind]} x {kind}' for kind in sorted(size)] or ['nothing']


def _step_seconds(program: Program, compiled: jax.stages.Compiled, canvas: int) -> float:
  """The median time of a step on black images."""
  zeros, frozen = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype, device=leaf.sharding),
                               (program.batch(canvas), program.frozen))
  batch, state, times = zeros | {'size': zeros['size'] + canvas}, program.init(), []
  for _ in range(1 + TIMED_STEPS):
    started = time.perf_counter()
    state, metrics = compiled(state, batch, frozen)
    jax.block_until_ready(metrics)
    times.append(time.perf_counter() - started)
  return statistics.median(times[1:])


def _si(value: float) -> str:
  power = max(0, math.floor(math.log10(max(value, 1)) / 3))
  return f'{value / 1000**power:.3g} {" kMGTPE"[power].strip()}'
