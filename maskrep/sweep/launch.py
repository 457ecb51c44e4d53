"""Starts the runs of a sweep, each as main.py in a process of its own: here, on SLURM, or by whoever reads a list."""

from collections.abc import Sequence
import os
from pathlib import Path
import shlex
import signal
import subprocess
import sys
import time

from maskrep.errors import ConfigError, Preempted
from maskrep.sweep.grid import Run
from maskrep.sweep.outcome import finished
from maskrep.train.stop import SIGNALS
from maskrep.workdir.events import record_event
from maskrep.workdir.files import write_atomic

MAIN = 'main.py'
SLURM = Path('launch/slurm.sbatch')  # what one task of the array does, and the resources it asks for


class Relay:
  """Notes signals, for the run that is under way to get. Use as a context manager, in the main thread."""

  def __init__(self):
    self.asked = []

  def __enter__(self):
    self._old = {number: signal.signal(number, lambda number, _: self.asked.append(number)) for number in SIGNALS}
    return self

  def __exit__(self, *_):
    for number, handler in self._old.items():
      signal.signal(number, handler)


def here(runs: Sequence[Run], folder: Path) -> str:
  """Runs what is not finished, one after another, and notes how each ended in the events.jsonl of the sweep.

  Returns:
    The name of the signal that ended it, or ''.
  """
  with Relay() as relay:
    for i, run in enumerate(runs, 1):
      print(f'[{i}/{len(runs)}] {run.name}: ', end='', flush=True)
      if finished(run.workdir):
        print('is finished', flush=True)
        continue
      started = time.monotonic()
      code, reason = _start(run, relay)
      record_event(folder, 'ended', run=run.name, exit_code=code, reason=reason)
      print(f'{f"ended with {code}: {reason}" if code else "finished"} ({time.monotonic() - started:.0f} s)',
            flush=True)
      if relay.asked:
        return signal.Signals(relay.asked[0]).name
  return ''


def command_line(run: Run) -> str:
  return shlex.join(['python', MAIN, *_config_and_workdir_first(run)])


def write_lines(runs: Sequence[Run], path: Path) -> None:
  """One command a line, of all runs."""
  write_atomic(path, ''.join(f'{command_line(run)}\n' for run in runs))


def write_slurm(runs: Sequence[Run], path: Path) -> None:
  """A SLURM array of the runs that are not finished.

  Their commands are in the script, of which sbatch keeps a copy: what is queued stays what it was.
  """
  left = ','.join(str(i) for i, run in enumerate(runs) if not finished(run.workdir))
  if not left:
    path.unlink(missing_ok=True)
    return
  asked = [line for line in SLURM.read_text().splitlines() if line.startswith('#SBATCH')]
  script = ['#!/usr/bin/env bash', f'# Submit it from the root of the checkout: sbatch {shlex.quote(str(path))}',
            *asked, f'#SBATCH --array={left}', 'set -euo pipefail',
            'commands=(', *(shlex.quote(command_line(run)) for run in runs), ')',
            '# python main.py --config=FILE --workdir=DIR and the fields, quoted for a shell',
            'eval "set -- ${commands[$SLURM_ARRAY_TASK_ID]}"',
            f'exec bash {SLURM} "${{3#--config=}}" "${{4#--workdir=}}" "${{@:5}}"']
  write_atomic(path, '\n'.join(script) + '\n')


def check_root() -> None:
  """Raises ConfigError where main.py is not in the current folder, from which the paths of a run count."""
  if not Path(MAIN).is_file():
    raise ConfigError(f'--launch: {os.getcwd()} has no {MAIN}; start the sweep from the root of the checkout')


def _config_and_workdir_first(run: Run) -> list[str]:
  config, *fields, workdir = run.arguments
  return [config, workdir, *fields]


def _start(run: Run, relay: Relay) -> tuple[int, str]:
  """Runs it to its end; its output goes to a file beside its folder. Returns exit code, as a shell has it, and why."""
  with open(run.workdir.with_name(f'{run.name}.log'), 'ab') as output:
    before, sent = output.tell(), 0
    # In a session of its own: Ctrl-C reaches a whole group, and a second signal would end the run before it has saved.
    process = subprocess.Popen([sys.executable, MAIN, *_config_and_workdir_first(run)], stdout=output,
                               stderr=subprocess.STDOUT, start_new_session=True)
    while True:
      for number in relay.asked[sent:]:
        process.send_signal(number)
        sent += 1
      try:
        code = process.wait(0.2)
        break
      except subprocess.TimeoutExpired:
        continue
  if code == 0:
    return 0, 'finished'
  if sent:
    return Preempted.exit_code, f'stopped by {signal.Signals(relay.asked[0]).name}'
  if code < 0:
    return 128 - code, f'killed by {signal.Signals(-code).name}'
  return code, _said(Path(output.name).read_bytes()[before:].decode(errors='replace'))


def _said(output: str) -> str:
  """What main.py said last of the error that ended it, or the last line of all."""
  lines = [line.strip() for line in output.splitlines() if line.strip()]
  own = [line.removeprefix('maskrep: ') for line in lines if line.startswith('maskrep: ')]
  return (own or lines or ['it did not say why'])[-1]
