"""Runs as they lie on disk, without the time that training takes."""

from pathlib import Path

import jax
from ml_collections import ConfigDict

from maskrep.devices.mesh import make_mesh
from maskrep.experiment import plan as planning
from maskrep.train.program import make_program
from maskrep.types import TrainState
from maskrep.workdir.checkpoint import Checkpoints
from maskrep.workdir.config import store_config


def first_state(config: ConfigDict) -> tuple[planning.Plan, TrainState]:
  """The plan and the first state of a run."""
  plan = planning.make(config)
  program = make_program(
    plan.objective, plan.optim, epochs=1.0, examples=8, batch_size=8, seed=config.seed, mesh=make_mesh())
  return plan, program.init()


def store(config: ConfigDict, folder: Path) -> TrainState:
  """Leaves a run at step 7, whose student and teacher differ; returns its state."""
  _, state = first_state(config)
  differ = lambda tree: jax.tree.map(lambda leaf: leaf * 0.5 + 0.1, tree)  # noqa: E731
  branches = {name: differ(tree) if name == 'teacher' else tree for name, tree in state.model_state.items()}
  state = state.replace(step=state.step + 7, ema_params=differ(state.params), model_state=branches)
  folder.mkdir(exist_ok=True)
  store_config(folder, config.to_dict(), free=())
  with Checkpoints(folder, 1) as checkpoints:
    checkpoints.save(state, 7)
  return state
