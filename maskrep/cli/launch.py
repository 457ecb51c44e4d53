"""Prints a script that starts runs on a cluster.

Each script begins with its usage and the settings to fill in.
"""

import sys

from maskrep.cli import command
from maskrep.cli.help import Page
from maskrep.errors import ConfigError
from maskrep.sweep.scripts import SCRIPTS, about, read

PAGE = Page(
  usage='maskrep launch SCRIPT', doc=__doc__,
  examples=('maskrep launch slurm.sbatch > slurm.sbatch', 'maskrep launch one_machine.sh > one_machine.sh'),
  choices={name: about(name) for name in SCRIPTS})


def launch(argv: list[str]) -> None:
  script, rest = command.choose(argv, PAGE)
  if rest[1:]:
    raise ConfigError(f'{rest[1]}: unexpected argument after the name of the script')
  sys.stdout.write(read(script))


def main(argv: list[str]) -> int:
  return command.run_command(launch, argv)
