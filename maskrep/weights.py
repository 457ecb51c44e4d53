"""Trained weights out of the workdir of another run."""

import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from maskrep import build, workdir
from maskrep.checkpoint import Checkpoints
from maskrep.errors import CheckpointError, ConfigError
from maskrep.mesh import make_mesh
from maskrep.train.optim import Optim
from maskrep.train.program import make_program
from maskrep.types import Params


def load(field: str, path: str, part: str, wanted: Any) -> tuple[Params, Params]:
  """The EMA parameters of `part` ('encoder', 'tokenizer') from the newest checkpoint of a run, on all devices.

  And the running statistics that belong to them, {} where there are none.

  Args:
    field, path: the field of the config that names the workdir, for errors, and its value.
    part: of the parameters.
    wanted: pytree of the shapes and types that they must have.

  Raises:
    ConfigError: there is no such run, it has no such part, or the part has other shapes.
    CheckpointError: none of its checkpoints is whole, or the run is under way.
  """
  run = Path(path).expanduser()
  if not (run / 'config.json').exists() or not (run / 'checkpoints').is_dir():
    raise ConfigError(f'config.{field}={path!r}: holds no run; give the --workdir of a run that trained it')
  config = workdir.load_config(run)
  try:
    objective, optim = build.build_objective(config), build.section(Optim, config.optim, 'optim')
  except ConfigError as error:
    raise ConfigError(f'config.{field}={path!r}: was trained by another version: {error}') from error
  program = make_program(objective, optim, epochs=1.0, examples=config.batch_size, batch_size=config.batch_size,
                         seed=config.seed, mesh=make_mesh())
  found = program.state.params.get(part)
  if found is None:
    raise ConfigError(f'config.{field}={path!r}: is a run of {config.method}, which has no {part}')
  if wrong := _differences(found, wanted):
    raise ConfigError(f'config.{field}={path!r}: its {part} is another than this config asks for: {wrong}')
  with workdir.resting(run), Checkpoints(run, keep=1, read_only=True) as checkpoints:
    state = checkpoints.restore(program.state)
  if state is None:
    raise CheckpointError(f'config.{field}={path!r}: has no checkpoint yet')
  # Of the teacher, whose weights these are, where it has statistics of its own.
  branch = state.model_state.get('teacher', state.model_state.get('student', {}))
  return state.ema_params[part], branch.get(part, {})


def digest(params: Params) -> str:
  """The first 16 digits of the SHA-256 of all values."""
  found = hashlib.sha256()
  for leaf in jax.tree.leaves(params):
    found.update(np.ascontiguousarray(leaf))
  return found.hexdigest()[:16]


def _differences(found: Params, wanted: Params) -> str:
  """The first leaf whose shape differs, and how many do; '' where all agree."""
  found, wanted = ({jax.tree_util.keystr(path, simple=True, separator='.'): leaf.shape
                    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)} for tree in (found, wanted))
  names = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
  if not names:
    return ''
  return (f'{names[0]} is {found.get(names[0], "missing")} and not {wanted.get(names[0], "wanted")}'
          f' ({len(names)} of {len(wanted)} leaves differ)')
