"""Compiles the steps of configs for accelerators that are not here, and writes docs/hardware.md from the results.

Each compilation takes minutes, and is kept as a line of benchmarks/hardware.jsonl; a later line of the same config and
machine replaces it on the page.

  python benchmarks/hardware.py --config=msn_vitb16 --topology=h100:8
  python benchmarks/hardware.py --config=msn_vitb4 --topology=v5e:8x8 --fit     # searches options with which it fits
  python benchmarks/hardware.py --config=msn_vitb16 --topology=h100:8 --set=encoder.depth=4
  python benchmarks/hardware.py --page
"""

import argparse
import ast
import datetime
import importlib
import json
from pathlib import Path
import time

from maskrep.devices.topology import prepare, topology

RESULTS = Path(__file__).parent / 'hardware.jsonl'
PAGE = Path(__file__).parent.parent / 'docs' / 'hardware.md'
EXAMPLES = 1_281_167  # of ImageNet-1k
HEAD = '''# Hardware

What a step needs and how long it may take on machines that we do not have: the step of each config is compiled by the
machine's own compiler, as `maskrep cost --config=NAME --topology=KIND:SIZE` does for any config. **Nothing on this page
was measured on an accelerator.**

- *memory*: bytes per device of state and batch, and of temporaries, as the compiler allocates them.
- *estimate*: on a TPU, the compiler's own cycles, without what it waits for memory. On a GPU, for each kernel the
  larger of its bytes over the bandwidth and its operations over 75 % of the peak, and 2 microseconds: a lower bound.
- *of the peak*: matrix products and convolutions over that time, in bfloat16; those of padding count too, 1 to 3 %.
- *hours*: all steps of the config on ImageNet-1k, without evaluation, compilation and waiting for data.
- *options*: what has to be set so that it fits; `--fit` finds it.

`python benchmarks/hardware.py --page` writes this page; `benchmarks/hardware.jsonl` has each compilation with its
date and version of jax.

| config | machine | batch | memory per device | options | estimate of a step | images/s | of the peak | hours |
|---|---|---|---|---|---|---|---|---|
'''


def compile_for(name: str, machine: str, changes: dict[str, object], search: bool) -> dict:
  """The figures of one step."""
  prepare(machine)
  import jax

  from maskrep.compiled_for import compiling_for
  from maskrep.devices.mesh import make_mesh
  from maskrep.experiment.experiment import Experiment
  from maskrep.experiment.fit import fit, step_fits
  from maskrep.train import cost, estimate

  there = topology(machine)
  module, _, variant = name.partition(':')
  config = importlib.import_module(f'maskrep.configs.{module}').get_config(*filter(None, [variant]))
  config.update_from_flattened_dict(changes)
  with compiling_for(there.machine.platform):
    if search:
      config, found = fit(config, len(there.devices), lambda config: step_fits(
        config, there.devices, there.machine.memory, there.lowers_for))
      changes = changes | found
    experiment = Experiment.parse(config)
    program = experiment.program(EXAMPLES, make_mesh(experiment.train.fsdp, there.devices))
    traced = program.trace(experiment.data.canvas)
    started = time.perf_counter()
    compiled = cost.compiled(traced.lower(lowering_platforms=(there.lowers_for,)))
  row = {'config': name, 'machine': machine, 'options': changes, 'batch': experiment.batch_size,
         'date': datetime.date.today().isoformat(), 'jax': jax.__version__,
         'compiled_s': round(time.perf_counter() - started)}
  if compiled is None:
    return row | {'fits': False}
  memory, hlo = cost.memory(compiled), compiled.as_text()
  if memory is None or hlo is None:
    raise SystemExit('this compiler tells neither memory nor program')
  kind = there.machine
  found = (estimate.by_cycles(hlo, kind.clock) if kind.platform == 'tpu' else
           estimate.by_roofline(hlo, kind.flops, kind.bandwidth))
  share = cost.matmul_flops(traced) / len(there.devices) / kind.flops / found.seconds
  return row | {
    'fits': sum(memory) <= kind.memory, 'state': memory[0], 'temporaries': memory[1], 'seconds': found.seconds,
    'parts': found.parts, 'share_of_peak': share, 'hours': found.seconds * program.total_steps / 3600}


def page() -> str:
  """The page of all results on file."""
  rows = {(row['config'], row['machine'], str(row['options'])): row for row in map(json.loads, RESULTS.open())}
  lines = []
  for _, row in sorted(rows.items()):
    options = ' '.join(f'`{field}={value}`' for field, value in row['options'].items())
    start = f'| `{row["config"]}` | `{row["machine"]}` | {row["batch"]} |'
    if 'seconds' not in row:
      lines.append(f'{start} more than the compiler allows: does not fit | {options} | | | | |')
      continue
    fits = '' if row['fits'] else ': does not fit'
    lines.append(
      f'{start} {row["state"] / 1e9:.1f} + {row["temporaries"] / 1e9:.1f} GB{fits} | {options} | '
      f'{row["seconds"] * 1e3:.0f} ms | {row["batch"] / row["seconds"]:.0f} | {row["share_of_peak"]:.0%} | '
      f'{row["hours"]:.1f} |')
  return HEAD + '\n'.join(lines) + '\n'


def value(text: str) -> object:
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--config')
  parser.add_argument('--topology')
  parser.add_argument('--set', action='append', default=[], metavar='FIELD=VALUE')
  parser.add_argument('--fit', action='store_true')
  parser.add_argument('--page', action='store_true')
  flags = parser.parse_args()
  if flags.config and flags.topology:
    changes = {field: value(text) for field, _, text in (each.partition('=') for each in flags.set)}
    row = compile_for(flags.config, flags.topology, changes, flags.fit)
    with RESULTS.open('a') as file:
      file.write(json.dumps(row) + '\n')
    print(json.dumps(row))
  elif not flags.page:
    parser.error('give --config and --topology, or --page')
  if flags.page:
    PAGE.write_text(page())


if __name__ == '__main__':
  main()
