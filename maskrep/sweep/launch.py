"""Starts the runs of a sweep, each in its own process: here, as a SLURM array, or as a list of commands."""

from collections.abc import Sequence
import os
from pathlib import Path
import shlex
import signal
import subprocess
import sys
import time

from maskrep.errors import Preempted
from maskrep.process import parent, signals
from maskrep.sweep import scripts
from maskrep.sweep.grid import Run
from maskrep.sweep.outcome import finished
from maskrep.workdir.events import record_event
from maskrep.workdir.files import write_atomic

TRAIN = '-m', 'maskrep', 'train'
SLURM = 'slurm.sbatch'  # script of one task of the array, and its resources


def here(runs: Sequence[Run], folder: Path) -> str:
  """Runs all unfinished runs, one after another, and records the end of each in events.jsonl of the sweep.

  Returns:
    The name of the signal that ended the sweep, or ''.
  """
  received = []
  with signals.watched(), signals.answered(received.append):
    for i, run in enumerate(runs, 1):
      print(f'[{i}/{len(runs)}] {run.name}: ', end='', flush=True)
      if finished(run.workdir):
        print('is finished', flush=True)
        continue
      started = time.monotonic()
      code, reason = _start(run, received)
      record_event(folder, 'ended', run=run.name, exit_code=code, reason=reason)
      print(f'{f"ended with {code}: {reason}" if code else "finished"} ({time.monotonic() - started:.0f} s)',
            flush=True)
      if received:
        return received[0]
  return ''


def command_line(run: Run) -> str:
  return shlex.join(['python', *TRAIN, *_config_and_workdir_first(run)])


def write_lines(runs: Sequence[Run], path: Path) -> None:
  """Writes one command per line, for all runs."""
  write_atomic(path, ''.join(f'{command_line(run)}\n' for run in runs))


def write_slurm(runs: Sequence[Run], path: Path) -> None:
  """Writes a SLURM array of the unfinished runs.

  The script holds the commands, and sbatch keeps a copy of it: queued tasks do not change.
  """
  left = ','.join(str(i) for i, run in enumerate(runs) if not finished(run.workdir))
  if not left:
    path.unlink(missing_ok=True)
    return
  resources = [line for line in scripts.read(SLURM).splitlines() if line.startswith('#SBATCH')]
  script = ['#!/usr/bin/env bash', f'# Submit it from {os.getcwd()}: sbatch {shlex.quote(str(path))}',
            *resources, f'#SBATCH --array={left}', 'set -euo pipefail',
            'commands=(', *(shlex.quote(command_line(run)) for run in runs), ')',
            '# maskrep train --config=FILE --workdir=DIR and the fields, quoted for a shell',
            'eval "set -- ${commands[$SLURM_ARRAY_TASK_ID]}"',
            f'exec bash {shlex.quote(str(scripts.FOLDER / SLURM))} "${{5#--config=}}" "${{6#--workdir=}}" "${{@:7}}"']
  write_atomic(path, '\n'.join(script) + '\n')


def _config_and_workdir_first(run: Run) -> list[str]:
  config, *fields, workdir = run.arguments
  return [config, workdir, *fields]


def _start(run: Run, received: list[str]) -> tuple[int, str]:
  """Runs it to its end, with its output in a file beside its folder. Returns the shell's exit code, and the reason.

  Signals `received` meanwhile are passed on to it. If this process is killed, the run is asked to stop.
  """
  with open(run.workdir.with_name(f'{run.name}.log'), 'ab') as output:
    before, sent = output.tell(), 0
    # In its own session: Ctrl-C reaches an entire group, and a second signal would end the run before it has saved.
    process = subprocess.Popen([sys.executable, *TRAIN, *_config_and_workdir_first(run)], stdout=output,
                               stderr=subprocess.STDOUT, start_new_session=True, env=parent.bound_to_me())
    while True:
      for name in received[sent:]:
        process.send_signal(signal.Signals[name])
        sent += 1
      try:
        code = process.wait(0.2)
        break
      except subprocess.TimeoutExpired:
        continue
  if code == 0:
    return 0, 'finished'
  if sent:
    return Preempted.exit_code, f'stopped by {received[0]}'
  if code < 0:
    return 128 - code, f'killed by {signal.Signals(-code).name}'
  return code, _reason(Path(output.name).read_bytes()[before:].decode(errors='replace'))


def _reason(output: str) -> str:
  """The last error message in a run's output, or else the last line."""
  lines = [line.strip() for line in output.splitlines() if line.strip()]
  errors = [line.removeprefix('maskrep: ') for line in lines if line.startswith('maskrep: ')]
  return (errors or lines or ['no reason given'])[-1]
