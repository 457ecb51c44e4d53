"""A run from its config: trains, resumes, evaluates."""

from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import time
from typing import NoReturn

from clu import parameter_overview
import jax
from ml_collections import ConfigDict

from maskrep import rng
from maskrep.devices import watch
from maskrep.devices.agreement import check_same, gather, together
from maskrep.devices.distributed import device_table
from maskrep.devices.mesh import make_mesh
from maskrep.errors import Preempted
from maskrep.evaluation.of_run import Evaluation, RunEvaluator, rows, scalars
from maskrep.evaluation.result import append, render_rows
from maskrep.evaluation.verdict import verdict
from maskrep.experiment import same
from maskrep.experiment.experiment import Experiment
from maskrep.experiment.fit import with_microbatch
from maskrep.experiment.opened import OpenExperiment, open_experiment
from maskrep.process import signals
from maskrep.train import loop
from maskrep.train.clock import Clock
from maskrep.train.track import Track, tracked
from maskrep.workdir import shared
from maskrep.workdir.classes import store_classes
from maskrep.workdir.config import store_config
from maskrep.workdir.events import recorded
from maskrep.workdir.files import read_json, write_atomic
from maskrep.workdir.folder import make_writable
from maskrep.workdir.lock import exclusive_lock
from maskrep.workdir.progress import has_progress, resumes
from maskrep.workdir.starts import check_start, describe_start, record_start


def run(
  config: ConfigDict | Experiment, workdir: Path, *, allowed_changes: tuple[str, ...] = (),
  started: float | None = None, with_verdict: bool = True, profile_steps: tuple[int, int] | None = None,
  track: str | None = None,
) -> None:
  """Trains to the end, resuming if `workdir` holds a checkpoint, and prints the final table and a verdict.

  Args:
    started: the time.monotonic() of the start of the process, from which the goodput is counted; None is now.
    profile_steps: the first and the last step of a trace, in `workdir`/profile.
    track: the tracker that process 0 sends the metrics to, a key of train.track.TRACKERS.
    with_verdict: whether the verdict is printed; runs of a probe end in the results of their protocol.

  Raises:
    RunError: the reason why the run ended before its end; `exit_code` gives its kind.
  """
  cache_compilations()
  clock = Clock(time.monotonic() if started is None else started)
  experiment = together(lambda: config if isinstance(config, Experiment) else
                        Experiment.parse(with_microbatch(config)))
  start = describe_start('')
  check_same(same.of_config(experiment.config, start))
  opened = together(lambda: open_experiment(experiment, resumed=resumes(workdir)))
  check_same(same.of_data(opened))
  start['data'] = opened.fingerprint
  first = jax.process_index() == 0
  if first:
    print(device_table(), opened.summary, sep='\n', flush=True)
  with contextlib.ExitStack() as stack:
    together(lambda: stack.enter_context(_owned(workdir)) if first else None)
    _check_shared(workdir)
    # Both are compared before either is written: a start that is refused changes nothing.
    together(lambda: first and _store(workdir, experiment, start, allowed_changes))
    send = together(lambda: stack.enter_context(tracked(track, workdir, experiment.config)) if first else None)
    if not first:
      train(opened, workdir, clock, profile_steps)
      return
    from maskrep.train.metrics import write_config  # imports PyTorch if it is installed, which takes seconds

    with recorded(workdir, clock.seconds) as record_end, watch.at_end(record_end):
      record_start(workdir, start)
      write_config(workdir, experiment.config)
      params, _ = jax.eval_shape(experiment.objective.init, rng.stream(experiment.seed, 'init'))
      overview = parameter_overview.get_parameter_overview(params, include_stats=False)
      write_atomic(workdir / 'parameters.txt', overview + '\n')
      store_classes(workdir, opened.train_source.class_names)
      evaluations = train(opened, workdir, clock, profile_steps, send)
  found = rows(evaluations)
  if table := render_rows(found):
    print(table)
  if with_verdict:
    logged, _ = read_json(workdir / 'metrics.jsonl')
    print('', verdict(workdir, experiment.config, found, logged, part=experiment.objective.backbone[0]), sep='\n')


@contextlib.contextmanager
def _owned(workdir: Path) -> Iterator[None]:
  """Makes the workdir of a run writable, and locks it."""
  make_writable(workdir)
  with exclusive_lock(workdir):
    yield


def _check_shared(workdir: Path) -> None:
  """Checks that all processes write to one folder.

  Raises:
    CheckpointError: in every process, if the folder of one is another.
  """
  if jax.process_count() == 1:
    return
  offered = together(lambda: shared.offer(workdir) if jax.process_index() == 0 else '')
  name = gather({'file': offered})[0]['file']
  try:
    together(lambda: shared.find(workdir, name))
  finally:
    if jax.process_index() == 0:
      shared.withdraw(workdir)


def _store(workdir: Path, experiment: Experiment, start: dict, allowed_changes: tuple[str, ...]) -> None:
  """Compares data and config with those of the run that is resumed, and stores the config.

  A run without progress is not resumed: a corrected config or data set replaces the wrong one.
  """
  replaces = not has_progress(workdir)
  check_start(workdir, start, (*allowed_changes, 'data') if replaces else allowed_changes)
  store_config(workdir, experiment.config, free=experiment.free_fields, allowed=allowed_changes, replaces=replaces)


def _without_table(name: str) -> NoReturn:
  """Ends the process at a signal, see `signals.answered`: only the time spent on the table is lost."""
  raise Preempted(f'stopped by {name} in the final table, after the last step, which is saved; run the same command '
                  'for the table')


def cache_compilations() -> None:
  """Keeps XLA's compilations for later processes, unless the user has chosen another cache folder."""
  if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
    with contextlib.suppress(RuntimeError):  # a container may have no home
      jax.config.update('jax_compilation_cache_dir', str(Path.home() / '.cache' / 'maskrep'))


def train(
  opened: OpenExperiment, workdir: Path, clock: Clock, profile_steps: tuple[int, int] | None = None,
  track: Track | None = None,
) -> list[Evaluation]:
  """The part of a run that every process does; returns its last evaluations.

  Process 0 has added all evaluations to evaluations.jsonl.
  """
  experiment, loader = opened.experiment, opened.loader
  mesh = make_mesh(experiment.train.fsdp)
  program = experiment.program(len(loader.source), mesh)
  evaluator = RunEvaluator(
    objective=experiment.objective, options=experiment.eval, config=experiment.config, train_source=loader.source,
    eval_source=opened.eval_source, data=experiment.data, seed=experiment.seed, dtype=experiment.dtype, mesh=mesh)

  def record(evaluations):
    if jax.process_index() == 0:
      for each in evaluations:
        append(workdir, each.record, each.results)
    return evaluations

  def evaluate(state):
    pictures = evaluator.pictures(state)
    if jax.process_index() == 0:
      for name, picture in pictures.items():
        write_atomic(workdir / name, picture)
    return scalars(record(evaluator.during(state)))

  state = loop.run(
    program, loader, experiment.train, workdir=workdir, clock=clock, evaluate=evaluate,
    evaluate_every_steps=experiment.eval.every_steps, frozen=opened.frozen, warm_start=opened.warm_start,
    profile_steps=profile_steps, track=track)
  with clock.phase('table'), signals.answered(_without_table):
    return record(evaluator.final(state))
