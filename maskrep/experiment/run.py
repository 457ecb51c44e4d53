"""A run from its config: checks, trains, evaluates. What main.py calls."""

import os
from pathlib import Path
import time

from clu import parameter_overview
import jax
from ml_collections import ConfigDict

from maskrep import rng
from maskrep.devices.distributed import device_table
from maskrep.devices.mesh import make_mesh
from maskrep.evaluation import table
from maskrep.evaluation.evaluator import Judge
from maskrep.experiment import build
from maskrep.experiment import plan as planning
from maskrep.show.reconstructions import reconstructions_png
from maskrep.train import loop
from maskrep.train.clock import Clock
from maskrep.workdir.checkpoint import resumes
from maskrep.workdir.config import store_config
from maskrep.workdir.events import recorded
from maskrep.workdir.files import append_json, write_atomic
from maskrep.workdir.folder import make_writable
from maskrep.workdir.lock import exclusive_lock
from maskrep.workdir.starts import check_start, describe_start, record_start

COMPILATION_CACHE = Path.home() / '.cache' / 'maskrep'


def run(
  config: ConfigDict, workdir: Path, *, allowed_changes: tuple[str, ...] = (), started: float | None = None
) -> None:
  """Trains to the end, resuming where `workdir` holds a checkpoint, and prints what the encoder is worth.

  `started` is the time.monotonic() of the start of the process, from which the goodput is counted; None is now.

  Raises:
    RunError: what ended the run before its end; `exit_code` says which kind.
  """
  cache_compilations()
  clock = Clock(time.monotonic() if started is None else started)
  plan = planning.make(config, resumed=resumes(workdir))
  if jax.process_index():
    train(plan, workdir, clock)
    return
  print(device_table(), flush=True)
  make_writable(workdir)
  with exclusive_lock(workdir):
    start = describe_start(plan.fingerprint)
    # Both are compared before either is written: a start that is refused changes nothing.
    check_start(workdir, start, allowed_changes)
    free = () if build.method(config).ghost_batches else ('train.microbatch',)
    store_config(workdir, config.to_dict(), free=planning.FREE_FIELDS + free, allowed=allowed_changes)
    with recorded(workdir, clock.seconds):
      record_start(workdir, start)
      params, _ = jax.eval_shape(plan.objective.init, rng.stream(plan.seed, 'init'))
      overview = parameter_overview.get_parameter_overview(params, include_stats=False)
      write_atomic(workdir / 'parameters.txt', overview + '\n')
      rows = train(plan, workdir, clock)
  if rows:
    print(table.render(rows))


def cache_compilations() -> None:
  """Keeps what XLA compiles for the next process, where the user has not said where."""
  if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
    jax.config.update('jax_compilation_cache_dir', str(COMPILATION_CACHE))


def train(plan: planning.Plan, workdir: Path, clock: Clock) -> list[table.Row]:
  """What every process does; returns the rows of the final table, which process 0 has written to results.jsonl."""
  mesh, view = make_mesh(plan.train.fsdp), plan.objective.view
  judge = Judge(
    objective=plan.objective, options=plan.eval, train_source=plan.loader.source, eval_source=plan.eval_source,
    size=view.size, mean=view.mean, std=view.std, canvas=plan.data.canvas, threads=plan.data.threads,
    stall_timeout_s=plan.data.stall_timeout_s, seed=plan.seed, mesh=mesh)

  def evaluate(state):
    if hasattr(plan.objective, 'reconstruct'):
      picture = reconstructions_png(*judge.reconstructions(state), zoom=max(1, 64 // view.size))
      if jax.process_index() == 0:
        write_atomic(workdir / 'reconstructions.png', picture)
    return judge.while_training(state)

  state = loop.run(
    plan.objective, plan.loader, plan.optim, plan.train, seed=plan.seed, mesh=mesh, workdir=workdir, clock=clock,
    evaluate=evaluate, evaluate_every_steps=plan.eval.every_steps, frozen=plan.frozen, warm_start=plan.warm_start)
  with clock.phase('table'):
    rows = judge.table(state)
  if jax.process_index() == 0:
    for row in rows:
      append_json(workdir / 'results.jsonl', {'step': int(state.step)} | table.as_record(row))
  return rows
