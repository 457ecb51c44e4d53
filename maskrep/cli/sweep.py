"""Runs every combination of some values of a config, and puts what they found side by side: python -m maskrep sweep

Each run is main.py in a process of its own, so that one that fails ends alone. See docs/sweeps.md.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags
import jax
from ml_collections import ConfigDict, config_flags

from maskrep.cli import command
from maskrep.errors import Preempted, RunError
from maskrep.sweep import launch, picture, table
from maskrep.sweep.grid import runs
from maskrep.sweep.outcome import ends, outcome
from maskrep.workdir.files import write_atomic
from maskrep.workdir.folder import make_writable

EXAMPLE = ('python -m maskrep sweep --config=configs/msn_vitb16.py --grid masking.ratio=0.15,0.3,0.5,0.7 '
           '--grid encoder=vit_s16,vit_b16 --workdir=runs/ratios')


def parse(argv: list[str]) -> flags.FlagValues:
  values = flags.FlagValues()
  config_flags.DEFINE_config_file('config', None, 'Of all runs; change a field for all with '
                                  '--config.SECTION.FIELD=VALUE.', flag_values=values, sys_argv=argv)
  flags.DEFINE_multi_string('grid', None, 'SECTION.FIELD=VALUE,VALUE or encoder=vit_s16,vit_b16; the product of all '
                            'grids is run.', flag_values=values)
  flags.DEFINE_string('workdir', None, 'Where each run gets a folder, and the tables go.', flag_values=values)
  flags.DEFINE_enum('launch', 'here', ['here', 'slurm', 'lines', 'none'], 'Start the runs here, one after another; '
                    'write a SLURM array, or one command a line; none only collects what there is.',
                    flag_values=values)
  return command.parse(argv, values, ('config', 'grid', 'workdir'), EXAMPLE)


def parse_config(arguments: Sequence[str]) -> ConfigDict:
  """The config, as main.py reads it."""
  argv, values = ['main.py', *arguments], flags.FlagValues()
  config_flags.DEFINE_config_file('config', None, flag_values=values, sys_argv=argv)
  return command.parse(argv, values, ('config',), EXAMPLE).config


def sweep(argv: list[str]) -> None:
  """Starts what is asked for, then writes and prints the tables.

  Raises:
    ConfigError: a combination is not a config that can be run; nothing was started.
    Preempted: a signal ended the run that was under way, and so the sweep.
    RunError: some run has failed; the others were run.
  """
  values = parse(argv)
  # The runs need all of an accelerator's memory; this process only reads configs and tables.
  jax.config.update('jax_platforms', 'cpu')
  if values.launch != 'none':
    launch.check_root()
  chosen, folder = runs(values, parse_config), Path(values.workdir)
  make_writable(folder)
  stopped = ''
  if values.launch in ('lines', 'slurm'):
    launch.write_lines(chosen, folder / 'commands.txt')
  if values.launch == 'slurm':
    launch.write_slurm(chosen, folder / 'sweep.sbatch')
  if values.launch == 'here':
    stopped = launch.here(chosen, folder)

  noted = ends(folder)
  results = [(run, outcome(run.workdir, noted.get(run.name))) for run in chosen]
  text = table.as_markdown(results, config_flags.get_config_filename(values['config']))
  write_atomic(folder / 'sweep.csv', table.as_csv(results))
  write_atomic(folder / 'sweep.md', text)
  write_atomic(folder / 'sweep.png', picture.png(results))
  print(text, end='')
  states = [found.state for _, found in results]
  if stopped:
    raise Preempted(f'stopped by {stopped}; run the same command to go on')
  if values.launch in ('here', 'none') and 'failed' in states:
    raise RunError(f'--workdir={folder}: {states.count("failed")} of {len(states)} runs failed; why is in '
                   f'{folder / "sweep.md"} and in the .log beside each folder')
  if values.launch == 'here' and 'interrupted' in states:
    raise Preempted(f'--workdir={folder}: {states.count("interrupted")} of {len(states)} runs were stopped; run the '
                    'same command to go on')


def main(argv: list[str]) -> int:
  return command.answer(sweep, argv)

