"""Trackers of experiments: the metrics of a run go to Weights & Biases, MLflow or Trackio too, from process 0."""

from collections.abc import Callable, Iterator
import contextlib
import json
import logging
import os
from pathlib import Path
import queue
import threading
import time
from typing import Protocol
import uuid

from flax.traverse_util import flatten_dict

from maskrep.errors import ConfigError
from maskrep.workdir.files import write_atomic

PROJECT = 'maskrep'  # unless the tracker's own environment variable names another
FILE = 'tracked.json'  # in the workdir: tracker -> id of the run there
LAST_S = 60  # seconds that the end of a run waits for metrics that were not sent yet

Track = Callable[[int, dict[str, float]], None]
Waiting = queue.SimpleQueue[tuple[int, dict[str, float]] | bool]  # at last, whether the run is complete

log = logging.getLogger(__name__)


class Tracker(Protocol):
  """A run at a tracker. `id` finds it again when training is resumed.

  A resumed run may log a step a second time, with the same values as before.
  """

  id: str

  def log(self, step: int, metrics: dict[str, float]) -> None: ...

  def finish(self, complete: bool) -> None: ...


class WandB:
  """https://docs.wandb.ai; WANDB_PROJECT, WANDB_MODE=offline and its other variables apply."""

  def __init__(self, workdir: Path, config: dict, previous: str | None):
    import wandb  # pyright: ignore[reportMissingImports]
    self.id = previous or uuid.uuid4().hex
    # wandb itself ignores steps that it has.
    self._run = wandb.init(
      project=os.environ.get('WANDB_PROJECT', PROJECT), name=workdir.name, id=self.id, resume='allow', config=config,
      dir=workdir, settings=wandb.Settings(console='off'))

  def log(self, step, metrics):
    self._run.log(metrics, step=step)

  def finish(self, complete):
    self._run.finish(exit_code=0 if complete else 1)


class MLflow:
  """https://mlflow.org/docs; MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME and its other variables apply."""

  def __init__(self, workdir: Path, config: dict, previous: str | None):
    from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]
    from mlflow.entities import Metric  # pyright: ignore[reportMissingImports]
    self._client, self._metric = MlflowClient(), Metric
    if previous:
      self.id = previous
      self._client.update_run(previous, status='RUNNING')
      return
    name = os.environ.get('MLFLOW_EXPERIMENT_NAME', PROJECT)
    found = self._client.get_experiment_by_name(name)
    experiment = found.experiment_id if found else self._client.create_experiment(name)
    self.id = self._client.create_run(experiment, run_name=workdir.name).info.run_id
    for field, value in flatten_dict(config, sep='.').items():
      self._client.log_param(self.id, field, value)

  def log(self, step, metrics):
    now = int(time.time() * 1000)
    self._client.log_batch(self.id, [self._metric(name, value, now, step) for name, value in metrics.items()])

  def finish(self, complete):
    self._client.set_terminated(self.id, 'FINISHED' if complete else 'KILLED')


class Trackio:
  """https://huggingface.co/docs/trackio; TRACKIO_DIR, TRACKIO_SPACE_ID and its other variables apply."""

  def __init__(self, workdir: Path, config: dict, previous: str | None):
    import trackio  # pyright: ignore[reportMissingImports]
    self.id = previous or f'{workdir.name}-{uuid.uuid4().hex[:8]}'
    self._run = trackio.init(project=PROJECT, name=self.id, resume='allow', config=config, embed=False)

  def log(self, step, metrics):
    self._run.log(metrics, step=step)

  def finish(self, complete):
    self._run.finish()


TRACKERS: dict[str, Callable[[Path, dict, str | None], Tracker]] = {
  'wandb': WandB, 'mlflow': MLflow, 'trackio': Trackio}


@contextlib.contextmanager
def tracked(name: str | None, workdir: Path, config: dict) -> Iterator[Track]:
  """Yields a function that sends the metrics of a step to a tracker, which may be None.

  A thread sends them, so that a slow tracker does not delay training. One that fails is left with a warning.

  Raises:
    ConfigError: the tracker cannot be started for a run that it has not tracked before.
  """
  tracker = _started(name, workdir, config) if name else None
  if name is None or tracker is None:
    yield lambda step, metrics: None
    return
  waiting: Waiting = queue.SimpleQueue()
  thread = threading.Thread(target=_send, args=(name, tracker, waiting), name=f'track-{name}', daemon=True)
  thread.start()
  complete = False
  try:
    yield lambda step, metrics: waiting.put((step, metrics)) if thread.is_alive() else None
    complete = True
  finally:
    waiting.put(complete)
    thread.join(LAST_S)
    if thread.is_alive():
      log.warning('--track=%s: did not take the last metrics within %d s; metrics.jsonl has them', name, LAST_S)


def _started(name: str, workdir: Path, config: dict) -> Tracker | None:
  path = workdir / FILE
  ids = json.loads(path.read_text()) if path.exists() else {}
  try:
    tracker = TRACKERS[name](workdir, config, ids.get(name))
  except Exception as error:  # of any library, of its server or of the network
    if name not in ids:
      raise ConfigError(f'--track={name}: cannot be started ({error}); correct its settings or leave out --track') \
        from error
    log.warning('--track=%s: cannot be started, so this run goes on untracked (%s)', name, error)
    return None
  write_atomic(path, json.dumps(ids | {name: tracker.id}) + '\n')
  return tracker


def _send(name: str, tracker: Tracker, waiting: Waiting) -> None:
  try:
    while not isinstance(record := waiting.get(), bool):
      tracker.log(*record)
    tracker.finish(complete=record)
  except Exception as error:  # of any library, of its server or of the network
    log.warning('--track=%s: failed, so this run goes on untracked; metrics.jsonl has its metrics (%s)', name, error)
