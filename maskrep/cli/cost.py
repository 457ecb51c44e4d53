"""Computes what a run will cost: compiles the real step, without data and without training.

Parameters, FLOPs, memory per device, bytes sent between devices and the lengths of the schedules; on an accelerator
also the time per step and for the whole run.
"""

import os

from absl import flags
from ml_collections import ConfigDict

from maskrep.cli import command
from maskrep.cli.config_file import define_config
from maskrep.cli.help import Page, training_fields


def define(values: flags.FlagValues, argv: list[str]) -> None:
  define_config(values, argv)
  flags.DEFINE_integer('devices', None, 'The number of devices, simulated on the CPU; otherwise those of this machine.',
                       lower_bound=1, flag_values=values)


PAGE = Page(
  usage='maskrep cost --config=NAME|FILE [--devices=N]', doc=__doc__,
  examples=('maskrep cost --config=msn_vitb16', 'maskrep cost --config=msn_vitb16 --devices=64'),
  define=define, fields=training_fields)


def parse(argv: list[str]) -> flags.FlagValues:
  return command.parse(argv, PAGE, ('config',))


def cost(config: ConfigDict, devices: int | None) -> None:
  """Prints the cost of a run on the devices of this machine, or on `devices` that the CPU simulates."""
  if devices:
    os.environ['JAX_PLATFORMS'] = 'cpu'
    os.environ['XLA_FLAGS'] = (
      f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count={devices}')
  from maskrep.experiment.dry_run import dry_run  # after the devices are set

  print(dry_run(config))


def run(argv: list[str]) -> None:
  values = parse(argv)
  cost(values.config, values.devices)


def main(argv: list[str]) -> int:
  return command.run_command(run, argv)
