"""A run from its config: trains, resumes, evaluates."""

import contextlib
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
from maskrep.evaluation.evaluator import Evaluator
from maskrep.experiment.experiment import Experiment
from maskrep.experiment.opened import OpenExperiment, open_experiment
from maskrep.train import loop
from maskrep.train.clock import Clock
from maskrep.workdir.checkpoint import resumes
from maskrep.workdir.config import store_config
from maskrep.workdir.events import recorded
from maskrep.workdir.files import append_json, write_atomic
from maskrep.workdir.folder import make_writable
from maskrep.workdir.lock import exclusive_lock
from maskrep.workdir.starts import check_start, describe_start, record_start


def run(
  config: ConfigDict | Experiment, workdir: Path, *, allowed_changes: tuple[str, ...] = (),
  started: float | None = None,
) -> None:
  """Trains to the end, resuming if `workdir` holds a checkpoint, and prints the final table.

  `started` is the time.monotonic() of the start of the process, from which the goodput is counted; None is now.

  Raises:
    RunError: the reason why the run ended before its end; `exit_code` gives its kind.
  """
  cache_compilations()
  clock = Clock(time.monotonic() if started is None else started)
  experiment = config if isinstance(config, Experiment) else Experiment.parse(config)
  opened = open_experiment(experiment, resumed=resumes(workdir))
  if jax.process_index():
    train(opened, workdir, clock)
    return
  print(device_table(), flush=True)
  make_writable(workdir)
  with exclusive_lock(workdir):
    start = describe_start(opened.fingerprint)
    # Both are compared before either is written: a start that is refused changes nothing.
    check_start(workdir, start, allowed_changes)
    store_config(workdir, experiment.config, free=experiment.free_fields, allowed=allowed_changes)
    with recorded(workdir, clock.seconds):
      record_start(workdir, start)
      params, _ = jax.eval_shape(experiment.objective.init, rng.stream(experiment.seed, 'init'))
      overview = parameter_overview.get_parameter_overview(params, include_stats=False)
      write_atomic(workdir / 'parameters.txt', overview + '\n')
      rows = train(opened, workdir, clock)
  if rows:
    print(table.render(rows))


def cache_compilations() -> None:
  """Keeps what XLA compiles for the next process, unless the user has named another place."""
  if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
    with contextlib.suppress(RuntimeError):  # a container may have no home
      jax.config.update('jax_compilation_cache_dir', str(Path.home() / '.cache' / 'maskrep'))


def train(opened: OpenExperiment, workdir: Path, clock: Clock) -> list[table.Row]:
  """The part of a run that every process does; returns the final table, which process 0 has added to results.jsonl."""
  experiment, loader = opened.experiment, opened.loader
  mesh = make_mesh(experiment.train.fsdp)
  program = experiment.program(len(loader.source), mesh)
  evaluator = Evaluator(
    objective=experiment.objective, options=experiment.eval, train_source=loader.source,
    eval_source=opened.eval_source, data=experiment.data, seed=experiment.seed, mesh=mesh)

  def evaluate(state):
    pictures = evaluator.pictures(state)
    if jax.process_index() == 0:
      for name, picture in pictures.items():
        write_atomic(workdir / name, picture)
    return evaluator.metrics(state)

  state = loop.run(
    program, loader, experiment.train, workdir=workdir, clock=clock, evaluate=evaluate,
    evaluate_every_steps=experiment.eval.every_steps, frozen=opened.frozen, warm_start=opened.warm_start)
  with clock.phase('table'):
    rows = evaluator.table(state)
  if jax.process_index() == 0:
    for row in rows:
      append_json(workdir / 'results.jsonl', {'step': int(state.step)} | table.as_record(row))
  return rows
