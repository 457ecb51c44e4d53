"""Trained weights out of the workdir of another run, or out of a folder that `maskrep import` wrote."""

import hashlib
import math
from pathlib import Path
from typing import NamedTuple

from flax import linen as nn
import jax
from jax.sharding import NamedSharding, PartitionSpec
from ml_collections import ConfigDict
import numpy as np

from maskrep.devices.mesh import make_mesh
from maskrep.errors import CheckpointError, ConfigError
from maskrep.experiment import build
from maskrep.models.position import resampling_matrix
from maskrep.train.optim import Optim
from maskrep.train.program import Program, make_program
from maskrep.types import Objective, Params, TrainState
from maskrep.weights import native
from maskrep.weights.pretrained import FREE, Pretrained, Run, described, flat, variables
from maskrep.workdir.checkpoint import Checkpoints
from maskrep.workdir.config import holds_run, load_config
from maskrep.workdir.lock import shared_lock

NETWORKS = 'ema', 'online'


class Stored(NamedTuple):
  """A run on disk."""

  path: Path
  config: ConfigDict
  objective: Objective
  program: Program


def load_tokenizer(field: str, path: str, tokenizer: nn.Module, wanted: Params) -> Params:
  """The EMA parameters of the tokenizer of a run's newest checkpoint, or of an import, on all devices.

  Args:
    field, path: the field of the config that names the folder, for errors, and its value.
    tokenizer: the module that they must be of.
    wanted: pytree of the shapes and types that they must have.

  Raises:
    ConfigError: there is no such run or import, it has no such part, or the part is another network.
    CheckpointError: none of its checkpoints is whole, or the run is under way.
  """
  params, _ = _load(f'config.{field}={path!r}', Path(path).expanduser(), 'tokenizer', tokenizer, wanted, {})
  return params


def load_encoder(field: str, path: str, encoder: nn.Module, wanted: Params, wanted_statistics: Params
                 ) -> tuple[Params, Params]:
  """As `load_tokenizer`, an encoder with its running statistics.

  Learned positions are resampled where the images have another size.
  """
  params, stats = _load(f'config.{field}={path!r}', Path(path).expanduser(), 'encoder', encoder, wanted,
                        wanted_statistics)
  return resampled(params, wanted), stats


def _load(what: str, folder: Path, part: str, module: nn.Module, wanted: Params, wanted_statistics: Params
          ) -> tuple[Params, Params]:
  """Parameters and running statistics, compared before an array is read where they are of a run."""
  def fits(network, params, stats):
    check(what, part, params | {'statistics': stats}, wanted | {'statistics': wanted_statistics})
    check_fields(what, part, network, described(module))

  if native.saved(folder) == part and not holds_run(folder):
    found = native.load(what, folder)
    trees = variables(found.arrays)
    params, stats = trees['params'], trees.get('batch_stats', {})
    fits((found.kind, found.config), params, stats)
    return jax.device_put((params, stats), NamedSharding(make_mesh(), PartitionSpec()))
  run = stored(what, folder, part)
  shapes = run.program.state
  of = lambda state: statistics(state.model_state) if part == 'encoder' else {}  # noqa: E731
  fits(described(getattr(run.objective, part)), shapes.params[part], of(shapes))
  state = restore(what, run)
  return state.ema_params[part], of(state)


def pretrained(what: str, path: str, network: str = 'ema') -> tuple[Pretrained, Run | None]:
  """The encoder of a run, or the tokenizer of one that trained it, and the rest of the run; or an import, alone.

  `network` is 'ema', or 'online' for the one that the EMA follows.

  Raises:
    ConfigError, CheckpointError: as `load_tokenizer`.
  """
  folder = Path(path).expanduser()
  if native.saved(folder) and not holds_run(folder):
    if network != 'ema':
      raise ConfigError(f'{what}: holds an import, which is one network; leave config.encoding.network at ema')
    return native.load(what, folder), None
  run = stored(what, folder)
  part = 'encoder' if 'encoder' in run.program.state.params else 'tokenizer'
  state, config, view = restore(what, run), run.config, run.objective.view
  kind, sizes = described(getattr(run.objective, part))
  preprocessing = {'size': view.size, 'crop_fraction': config.eval.crop_fraction, 'filter': 'bilinear',
                   'mean': list(view.mean), 'std': list(view.std)}
  if sigma := getattr(run.objective, 'sigma', 0):
    preprocessing['high_pass_sigma'] = sigma
  pooling = getattr(run.objective, 'supervised_pooling', getattr(run.objective, 'pooling', 'class_token'))
  source = {'licence': 'of whoever trained it, and of the data', 'workdir': str(folder), 'step': int(state.step),
            'pooling': pooling,
            'weights': 'EMA' if network == 'ema' else 'online', 'config': config.to_dict()}
  params = state.ema_params if network == 'ema' else state.params
  arrays = flat(params[part], statistics(state.model_state, network))
  rest = Run(config.method, round(config.train.epochs), *(
    flat(tree) for tree in (state.params, state.ema_params, state.model_state)))
  return Pretrained(kind=kind, config=sizes, arrays=arrays, preprocessing=preprocessing, source=source), rest


def statistics(model_state: Params, network: str = 'ema') -> Params:
  """The running statistics of an encoder: of the EMA those of the teacher, where it has its own; {} without any."""
  student = model_state.get('student', {})
  return (model_state.get('teacher', student) if network == 'ema' else student).get('encoder', {})


def stored(what: str, folder: Path, part: str | None = None) -> Stored:
  """A run, by its stored config, with a `part` that it must have; no array is read.

  Raises:
    ConfigError: there is no such run, it was trained by another version, or it has no such part.
  """
  if not holds_run(folder):
    raise ConfigError(f'{what}: holds no run and no import{f" of such a {part}" if part else ""}; give the --workdir '
                      'of a run that trained it, or what maskrep import wrote')
  config = ConfigDict(load_config(folder)).lock()
  try:
    objective, optim = build.build_objective(config), build.section(Optim, config.optim, 'optim')
  except ConfigError as error:
    raise ConfigError(f'{what}: was trained by another version: {error}') from error
  program = make_program(objective, optim, epochs=1.0, examples=config.batch_size, batch_size=config.batch_size,
                         seed=config.seed, mesh=make_mesh())
  if part and part not in program.state.params:
    raise ConfigError(f'{what}: is a run of {config.method}, which has no {part}')
  return Stored(folder, config, objective, program)


def restore(what: str, run: Stored) -> TrainState:
  """The newest state that is whole.

  Raises:
    CheckpointError: there is none.
  """
  with shared_lock(run.path), Checkpoints(run.path, keep=1, read_only=True) as checkpoints:
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


def check_fields(what: str, part: str, found: tuple[str, dict], wanted: tuple[str, dict]) -> None:
  """Compares what no shape tells, as the number of heads.

  Raises:
    ConfigError: they differ; the message has the first field that does.
  """
  for field, value in wanted[1].items():
    if field not in FREE and found[1].get(field) != value:
      raise ConfigError(f'{what}: its {part} has {field}={found[1].get(field)}, and config.{part}.{field} is {value}; '
                        'give the same')
