"""Kills a digits run again and again, anywhere, and sees it end as if it never was: python -m tests.long.soak

Not a test that pytest collects: it takes minutes. A table of outcomes is printed; the exit code is 1 where anything was
lost, damaged or different.
"""

import argparse
from collections import Counter
import json
from pathlib import Path
import random
import signal
import sys
import tempfile
import time

from tests.support.processes import records, saved, start

STEPS, SAVE_EVERY, EVALUATE_EVERY = 400, 20, 50
PHASES = 'start-up', 'step', 'save', 'evaluation', 'exit'
RUN = (f'--config.train.epochs={STEPS * 64 / 1438}', f'--config.train.checkpoint_every_steps={SAVE_EVERY}',
       f'--config.eval.every_steps={EVALUATE_EVERY}')


def newest(workdir: Path) -> int:
  return max(saved(workdir), default=0)


def logged(workdir: Path) -> int:
  path = workdir / 'metrics.jsonl'
  return path.read_text().count('\n') if path.exists() else 0


def reached(phase: str, workdir: Path, seconds: float, aim: int, chance: random.Random) -> bool:
  """Whether the run, `seconds` old, is where it shall be killed: in a phase, from step `aim` on."""
  if phase == 'start-up':
    return seconds > chance.uniform(0, 6)
  if phase == 'exit':
    return newest(workdir) == STEPS
  if logged(workdir) < aim:
    return False
  if phase == 'save':
    return any(workdir.glob('checkpoints/*tmp*'))
  # The metrics of an evaluated step are written after its evaluation, so that is under way when they are due.
  return phase == 'step' or logged(workdir) % EVALUATE_EVERY == EVALUATE_EVERY - 1


def life(workdir: Path, phase: str | None, chance: random.Random) -> int:
  """Starts the run; kills it in a phase, or lets it end. Returns its exit code."""
  aim, since = chance.randint(min(logged(workdir) + 2, STEPS - 1), STEPS - 1), time.monotonic()
  process = start(workdir, *RUN)
  while phase and process.poll() is None:
    if reached(phase, workdir, time.monotonic() - since, aim, chance):
      time.sleep(chance.uniform(0, 0.1))
      process.send_signal(signal.SIGKILL)
      break
    time.sleep(0.002)
  _, said = process.communicate()
  if process.returncode not in (0, -signal.SIGKILL):
    print(said, file=sys.stderr)
  return process.returncode


def outcome(workdir: Path) -> tuple:
  """What must be equal: the fingerprint of the last state, and every loss."""
  prints, = (workdir / 'checkpoints' / str(STEPS) / 'fingerprint').glob('metadata')
  losses = [(record['step'], record['loss']) for record in records(workdir, 'metrics.jsonl')]
  return json.loads(prints.read_text()), losses


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--kills', type=int, default=50)
  parser.add_argument('--seed', type=int, default=0)
  options = parser.parse_args()
  chance = random.Random(options.seed)
  kills, lost, wrong, runs = Counter(), 0, 0, 0
  with tempfile.TemporaryDirectory() as folder:
    straight = Path(folder) / 'straight'
    if life(straight, None, chance):
      return 1
    expected = outcome(straight)
    while kills.total() < options.kills:
      runs += 1
      workdir = Path(folder) / str(runs)
      done = False
      while not done:
        had = newest(workdir)
        phase = PHASES[kills.total() % len(PHASES)] if kills.total() < options.kills and had < STEPS else None
        code = life(workdir, phase, chance)
        kills[phase] += code == -signal.SIGKILL
        lost += newest(workdir) < had
        wrong += code not in (0, -signal.SIGKILL)
        done = code == 0 or wrong
        print(f'run {runs}, {phase or "to the end"}: exit {code}, checkpoint {had} -> {newest(workdir)}', flush=True)
      wrong += outcome(workdir) != expected or (workdir / 'corrupt').exists()
  print('\n' + '\n'.join(f'{phase:<12}{kills[phase]:>4} kills' for phase in PHASES))
  print(f'{runs} runs, {kills.total()} kills: {lost} checkpoints lost, {wrong} runs that ended otherwise than the one '
        'never killed')
  return bool(lost or wrong)


if __name__ == '__main__':
  sys.exit(main())
