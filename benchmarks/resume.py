"""Cost of a resume and of a save: python benchmarks/resume.py --config=configs/msn_digits.py

Starts the run, stops it after its first steps, and starts it again: with an empty compilation cache, and with a warm
one. Prints the seconds from the start of the process to the first new step, by phase. Then saves a state of 35 MB and
prints how long training stood still, and how long writing took in total. Flags are passed on to main.py.
"""

import json
import os
from pathlib import Path
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import jax
import jax.numpy as jnp

from maskrep.types import TrainState
from maskrep.workdir.checkpoint import Checkpoints

PHASES = 'start', 'restore', 'compile', 'data', 'step'
SAVES = 5


def began(workdir: Path, cache: Path, flags: list[str]) -> dict[str, float]:
  """Seconds by phase to the first step of a run, which is then stopped."""
  events = workdir / 'events.jsonl'
  before = events.read_text().count('"began"') if events.exists() else 0
  process = subprocess.Popen(
    [sys.executable, 'main.py', f'--workdir={workdir}', *flags], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    text=True, env=os.environ | {'JAX_COMPILATION_CACHE_DIR': str(cache)})
  while not events.exists() or events.read_text().count('"began"') == before:
    if process.poll() is not None:
      sys.exit(process.communicate()[1])
    time.sleep(0.1)
  process.send_signal(signal.SIGTERM)
  process.communicate()
  records = map(json.loads, events.read_text().splitlines())
  return [record for record in records if record['event'] == 'began'][-1]['seconds']


def show(name: str, seconds: dict[str, float]) -> None:
  print(name.ljust(28) + f'{sum(seconds.values()):6.1f} s: ' + ', '.join(
    f'{phase} {seconds.get(phase, 0):.1f}' for phase in PHASES), flush=True)


def saves() -> None:
  leaf = jax.random.normal(jax.random.key(0), (35 * 2**18,))
  still, whole = [], []
  with tempfile.TemporaryDirectory() as folder, Checkpoints(Path(folder), 1) as checkpoints:
    for step in range(SAVES + 1):
      state = TrainState(step=jnp.int32(step), params=leaf + step, ema_params={}, model_state={}, opt_state={},
                         skipped=jnp.zeros(2, jnp.int32))
      jax.block_until_ready(state)
      since = time.perf_counter()
      checkpoints.save(state, step)
      still.append(time.perf_counter() - since)
      checkpoints.finish()
      whole.append(time.perf_counter() - since)
  print(f'a save of 35 MB: training stands still for {1000 * statistics.median(still[1:]):.0f} ms, and it is on disk '
        f'after {1000 * statistics.median(whole[1:]):.0f} ms (median of {SAVES})')


def main() -> None:
  flags = sys.argv[1:] or ['--config=configs/msn_digits.py']
  with tempfile.TemporaryDirectory() as folder:
    workdir, caches = Path(folder) / 'run', [Path(folder) / 'a', Path(folder) / 'b']
    show('new run, empty cache', began(workdir, caches[0], flags))
    show('resumed, empty cache', began(workdir, caches[1], flags))
    show('resumed, warm cache', began(workdir, caches[1], flags))
  saves()


if __name__ == '__main__':
  main()
