"""Computes what a run will cost: compiles the real step, without data and without training.

Parameters, FLOPs, memory per device, bytes sent between devices and the lengths of the schedules; on an accelerator
also the time per step and for the whole run; for a --topology that is not here, whether it fits and estimates.
"""

import os

from absl import flags
from ml_collections import ConfigDict

from maskrep.cli import command
from maskrep.cli.config_file import define_config
from maskrep.cli.help import Page, training_fields
from maskrep.errors import ConfigError


def define(values: flags.FlagValues, argv: list[str]) -> None:
  define_config(values, argv)
  flags.DEFINE_integer('devices', None, 'The number of devices, simulated on the CPU; otherwise those of this machine.',
                       lower_bound=1, flag_values=values)
  flags.DEFINE_string('topology', None, 'Accelerators that are not here, as h100:8, h100:8x8 (hosts x GPUs), a100:8, '
                      "v4:2x2x1, v5e:16x16, v5p:2x2x1 or v6e:4x4; needs maskrep[tpu] or maskrep[cuda].",
                      flag_values=values)
  flags.DEFINE_bool('fit', False, 'With --topology: search, by compiling, the fastest train.microbatch, encoder.remat '
                    'and train.fsdp that fit.', flag_values=values)


PAGE = Page(
  usage='maskrep cost --config=NAME|FILE [--devices=N | --topology=KIND:SIZE]', doc=__doc__,
  examples=('maskrep cost --config=msn_vitb16', 'maskrep cost --config=msn_vitb16 --topology=v5e:8x8'),
  define=define, fields=training_fields)


def parse(argv: list[str]) -> flags.FlagValues:
  return command.parse(argv, PAGE, ('config',))


def cost(config: ConfigDict, devices: int | None, topology: str | None, *, fit: bool = False) -> None:
  """Prints the cost of a run on the devices of this machine, on `devices` that the CPU simulates, or on a topology.

  Raises:
    ConfigError: there is no such topology, both are given, or `fit` without a topology.
  """
  if devices and topology:
    raise ConfigError(f'--devices={devices} and --topology={topology}: give one of them')
  if fit and not topology:
    raise ConfigError('--fit: needs --topology, as the memory of a CPU is no limit to size a step by')
  if topology:
    from maskrep.devices.topology import prepare

    prepare(topology)
  if devices:
    os.environ['JAX_PLATFORMS'] = 'cpu'
    os.environ['XLA_FLAGS'] = (
      f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count={devices}')
  from maskrep.experiment.dry_run import dry_run  # after the devices are set

  print(dry_run(config, topology, search=fit))


def run(argv: list[str]) -> None:
  values = parse(argv)
  cost(values.config, values.devices, values.topology, fit=values.fit)


def main(argv: list[str]) -> int:
  return command.run_command(run, argv)
