"""Runs as they lie on disk, without the time that training takes."""

from pathlib import Path

import jax
from ml_collections import ConfigDict

from maskrep.devices.mesh import make_mesh
from maskrep.experiment.experiment import Experiment
from maskrep.experiment.opened import OpenExperiment, open_experiment
from maskrep.types import TrainState
from maskrep.workdir.checkpoint import Checkpoints
from maskrep.workdir.classes import store_classes
from maskrep.workdir.config import store_config


def opened(config: ConfigDict, *, resumed: bool = False) -> OpenExperiment:
  return open_experiment(Experiment.parse(config), resumed=resumed)


def first_state(config: ConfigDict) -> tuple[OpenExperiment, TrainState]:
  """The experiment of a run, open, and its first state."""
  found = opened(config)
  return found, found.experiment.program(8, make_mesh()).init()


def store(config: ConfigDict, folder: Path) -> TrainState:
  """Leaves a run at step 7, whose student and teacher differ; returns its state."""
  found, state = first_state(config)
  differ = lambda tree: jax.tree.map(lambda leaf: leaf * 0.5 + 0.1, tree)  # noqa: E731
  branches = {name: differ(tree) if name == 'teacher' else tree for name, tree in state.model_state.items()}
  state = state.replace(step=state.step + 7, ema_params=differ(state.params), model_state=branches)
  folder.mkdir(exist_ok=True)
  store_config(folder, found.experiment.config, free=())
  store_classes(folder, found.loader.source.class_names)
  with Checkpoints(folder, 1) as checkpoints:
    checkpoints.save(state, 7)
  return state


def final_state(workdir: Path, config: ConfigDict) -> TrainState:
  """The newest checkpoint of a run of this config."""
  program = Experiment.parse(config).program(8, make_mesh())
  with Checkpoints(workdir, 3) as checkpoints:
    return checkpoints.restore(program.state)
