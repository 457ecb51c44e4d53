"""Trains every combination of some values of a config, and compares the results.

Each run is a separate process, so that one failure does not end the others. The same command resumes
unfinished runs.
"""

from collections.abc import Sequence
import dataclasses
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from maskrep.cli import command
from maskrep.cli.config_file import define_config
from maskrep.cli.help import Page, training_fields
from maskrep.errors import Preempted, RunError
from maskrep.workdir.files import write_atomic
from maskrep.workdir.folder import make_writable


def define(values: flags.FlagValues, argv: list[str]) -> None:
  define_config(values, argv, 'The config of all runs; change a field of all with --config.SECTION.FIELD=VALUE.')
  flags.DEFINE_multi_string('grid', None, 'SECTION.FIELD=VALUE,VALUE, encoder=vit_s16,vit_b16, or variant=A,B of a '
                            'config that has variants, NAME:A; every combination of the grids is run.',
                            flag_values=values)
  flags.DEFINE_string('workdir', None, 'The folder of the tables, and of one folder per run.', flag_values=values)
  flags.DEFINE_enum('launch', 'here', ['here', 'slurm', 'lines', 'none'], 'here: start the runs one after another; '
                    'slurm: write a SLURM array; lines: write one command per line; none: only collect results.',
                    flag_values=values)


PAGE = Page(
  usage='maskrep sweep --config=NAME|FILE --grid=FIELD=VALUE,VALUE [--grid=...] --workdir=DIR', doc=__doc__,
  examples=('maskrep sweep --config=msn_digits --grid=masking.ratio=0.15,0.3,0.5 --workdir=runs/ratios',
            'maskrep sweep --config=msn_ablation --grid=variant=table7_focal,table7_random --workdir=runs/table7',
            'maskrep sweep --config=msn_vitb16 --grid=encoder=vit_s16,vit_b16 --workdir=runs/sizes --launch=slurm'),
  define=define, fields=training_fields)


def parse(argv: list[str]) -> flags.FlagValues:
  return command.parse(argv, PAGE, ('config', 'grid', 'workdir'))


def parse_config(arguments: Sequence[str]) -> ConfigDict:
  """Parses the config as `maskrep train` does."""
  page = dataclasses.replace(PAGE, define=define_config)
  return command.parse(['maskrep train', *arguments], page, ('config',)).config


def sweep(argv: list[str]) -> None:
  """Starts the runs, or writes their commands, then writes and prints the tables.

  Raises:
    ConfigError: a combination is not a valid config; nothing was started.
    Preempted: a signal ended the current run, and with it the sweep.
    RunError: a run failed; the others were run.
  """
  values = parse(argv)
  import jax

  from maskrep.sweep import launch, picture, table
  from maskrep.sweep.grid import runs
  from maskrep.sweep.outcome import ends, outcome

  # The runs need all memory of an accelerator; this process only reads configs and tables.
  jax.config.update('jax_platforms', 'cpu')
  planned, folder = runs(values, parse_config), Path(values.workdir)
  make_writable(folder)
  stopped = ''
  if values.launch in ('lines', 'slurm'):
    launch.write_lines(planned, folder / 'commands.txt')
  if values.launch == 'slurm':
    launch.write_slurm(planned, folder / 'sweep.sbatch')
  if values.launch == 'here':
    stopped = launch.here(planned, folder)

  last_ends = ends(folder)
  results = [(run, outcome(run.workdir, last_ends.get(run.name))) for run in planned]
  text = table.as_markdown(results, config_flags.get_config_filename(values['config']))
  write_atomic(folder / 'sweep.csv', table.as_csv(results))
  write_atomic(folder / 'sweep.md', text)
  write_atomic(folder / 'sweep.png', picture.png(results))
  print(text, end='')
  states = [result.state for _, result in results]
  if stopped:
    raise Preempted(f'stopped by {stopped}; run the same command to resume')
  if values.launch in ('here', 'none') and 'failed' in states:
    raise RunError(f'--workdir={folder}: {states.count("failed")} of {len(states)} runs failed; see '
                   f'{folder / "sweep.md"} and the .log file beside each folder')
  if values.launch == 'here' and 'interrupted' in states:
    raise Preempted(f'--workdir={folder}: {states.count("interrupted")} of {len(states)} runs were stopped; run the '
                    'same command to resume')


def main(argv: list[str]) -> int:
  return command.run_command(sweep, argv)

