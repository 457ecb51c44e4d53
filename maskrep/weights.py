"""Trained weights out of the workdir of another run, or out of a folder that `maskrep.import_weights` wrote."""

import hashlib
import math
from pathlib import Path
from typing import NamedTuple

import jax
from ml_collections import ConfigDict
import numpy as np

from maskrep import build, workdir
from maskrep.checkpoint import Checkpoints
from maskrep.errors import CheckpointError, ConfigError
from maskrep.interop import own
from maskrep.interop.pretrained import Pretrained, Run, described, flat, variables
from maskrep.mesh import make_mesh
from maskrep.models.position import resampling_matrix
from maskrep.train.optim import Optim
from maskrep.train.program import Program, make_program
from maskrep.types import Objective, Params, TrainState


class Stored(NamedTuple):
  """A run on disk."""

  path: Path
  config: ConfigDict
  objective: Objective
  program: Program


def load(field: str, path: str, part: str, wanted: Params) -> Params:
  """The EMA parameters of `part` ('encoder', 'tokenizer') from the newest checkpoint of a run, on all devices.

  Args:
    field, path: the field of the config that names the workdir, for errors, and its value.
    part: of the parameters.
    wanted: pytree of the shapes and types that they must have.

  Raises:
    ConfigError: there is no such run, it has no such part, or the part has other shapes.
    CheckpointError: none of its checkpoints is whole, or the run is under way.
  """
  what = f'config.{field}={path!r}'
  run = stored(what, Path(path).expanduser(), part)
  check(what, part, run.program.state.params[part], wanted)
  return restore(what, run).ema_params[part]


def load_encoder(field: str, path: str, wanted: Params, wanted_statistics: Params) -> tuple[Params, Params]:
  """As `load`, an encoder with its running statistics, from a run or an import.

  Learned positions are resampled where the images have another size.
  """
  what, folder = f'config.{field}={path!r}', Path(path).expanduser()
  if own.is_saved(folder):
    found = variables(own.load(what, folder).arrays)
    params, stats = found['params'], found.get('batch_stats', {})
    check(what, 'encoder', params | {'statistics': stats}, wanted | {'statistics': wanted_statistics})
    return resampled(params, wanted), stats
  run = stored(what, folder, 'encoder')
  shapes = run.program.state
  check(what, 'encoder', shapes.params['encoder'] | {'statistics': statistics(shapes.model_state)},
        wanted | {'statistics': wanted_statistics})
  state = restore(what, run)
  return resampled(state.ema_params['encoder'], wanted), statistics(state.model_state)


def pretrained(what: str, path: str) -> tuple[Pretrained, Run | None]:
  """The EMA encoder of a run, and the rest of the run; or an imported one, alone.

  Raises:
    ConfigError, CheckpointError: as `load`.
  """
  folder = Path(path).expanduser()
  if own.is_saved(folder):
    return own.load(what, folder), None
  run = stored(what, folder, 'encoder')
  state, config, view = restore(what, run), run.config, run.objective.view
  kind, sizes = described(run.objective.encoder)
  preprocessing = {'size': view.size, 'crop_fraction': config.eval.crop_fraction, 'filter': 'bilinear',
                   'mean': list(view.mean), 'std': list(view.std)}
  if sigma := getattr(run.objective, 'sigma', 0):
    preprocessing['high_pass_sigma'] = sigma
  source = {'licence': 'of whoever trained it, and of the data', 'workdir': str(folder), 'step': int(state.step),
            'weights': 'EMA', 'config': config.to_dict()}
  arrays = flat(state.ema_params['encoder'], statistics(state.model_state))
  rest = Run(config.method, round(config.train.epochs), *(
    flat(tree) for tree in (state.params, state.ema_params, state.model_state)))
  return Pretrained(kind=kind, config=sizes, arrays=arrays, preprocessing=preprocessing, source=source), rest


def statistics(model_state: Params) -> Params:
  """The running statistics of the encoder that is evaluated: of the teacher, where it has its own; {} without any."""
  return model_state.get('teacher', model_state.get('student', {})).get('encoder', {})


def stored(what: str, folder: Path, part: str) -> Stored:
  """A run, by its stored config; no array is read.

  Raises:
    ConfigError: there is no such run, it was trained by another version, or it has no such part.
  """
  if not (folder / 'config.json').exists() or not (folder / 'checkpoints').is_dir():
    raise ConfigError(f'{what}: holds no run; give the --workdir of a run that trained it')
  config = workdir.load_config(folder)
  try:
    objective, optim = build.build_objective(config), build.section(Optim, config.optim, 'optim')
  except ConfigError as error:
    raise ConfigError(f'{what}: was trained by another version: {error}') from error
  program = make_program(objective, optim, epochs=1.0, examples=config.batch_size, batch_size=config.batch_size,
                         seed=config.seed, mesh=make_mesh())
  if part not in program.state.params:
    raise ConfigError(f'{what}: is a run of {config.method}, which has no {part}')
  return Stored(folder, config, objective, program)


def restore(what: str, run: Stored) -> TrainState:
  """The newest state that is whole.

  Raises:
    CheckpointError: there is none.
  """
  with workdir.resting(run.path), Checkpoints(run.path, keep=1, read_only=True) as checkpoints:
    state = checkpoints.restore(run.program.state)
  if state is None:
    raise CheckpointError(f'{what}: has no checkpoint yet')
  return state


def digest(params: Params) -> str:
  """The first 16 digits of the SHA-256 of all values."""
  found = hashlib.sha256()
  for leaf in jax.tree.leaves(params):
    found.update(np.ascontiguousarray(leaf))
  return found.hexdigest()[:16]


def resampled(params: Params, wanted: Params) -> Params:
  """With learned positions of a square grid, [N, D] or after a class token [1 + N, D], for that of `wanted`."""
  if 'pos' not in params or params['pos'].shape == wanted['pos'].shape:
    return params
  pos = np.asarray(params['pos'])
  old, new = (math.isqrt(len(each)) for each in (pos, wanted['pos']))
  cls, patches = np.split(pos, [len(pos) - old**2])
  return params | {'pos': np.concatenate([cls, resampling_matrix((new, new), (old, old)) @ patches])}


def check(what: str, part: str, found: Params, wanted: Params) -> None:
  """Compares shapes; positions may be of another grid.

  Raises:
    ConfigError: they differ; the message has the first leaf that does, and how many do.
  """
  found, wanted = ({jax.tree_util.keystr(path, simple=True, separator='.'): leaf.shape
                    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)} for tree in (found, wanted))
  names = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
  if 'pos' in found.keys() & wanted.keys() and found['pos'][1:] == wanted['pos'][1:]:
    names = [name for name in names if name != 'pos']
  if names:
    raise ConfigError(
      f'{what}: its {part} is another than this config asks for: {names[0]} is {found.get(names[0], "missing")} and '
      f'not {wanted.get(names[0], "wanted")} ({len(names)} of {len(wanted)} leaves differ)')
