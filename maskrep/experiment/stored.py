"""Trained weights, from the workdir of a run or from a folder written by `maskrep import`."""

from collections.abc import Mapping
import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np

from maskrep.devices.mesh import make_mesh
from maskrep.errors import CheckpointError, ConfigError
from maskrep.evaluation.encoders import TrainedObjective
from maskrep.evaluation.evaluator import classifying
from maskrep.experiment.experiment import Experiment
from maskrep.models.position import resampling_matrix
from maskrep.types import Network, Params
from maskrep.weights import native
from maskrep.weights.pretrained import FREE, Pretrained, RunState, described, flat, variables
from maskrep.workdir.bucket import opened
from maskrep.workdir.checkpoint import Checkpoints
from maskrep.workdir.classes import load_classes
from maskrep.workdir.config import holds_run, load_config
from maskrep.workdir.lock import shared_lock


class StoredRun(NamedTuple):
  """A run on disk: its experiment, and the shapes of its parameters and batch statistics."""

  path: Path
  experiment: Experiment
  params: Params
  model_state: Params


def open_run(what: str, folder: Path, part: str | None = None) -> StoredRun:
  """Opens a run by its stored config; no array is read.

  Args:
    what: the flag or field that named the folder, and its value, for errors.
    part: the name of a network that the run must have trained.

  Raises:
    ConfigError: there is no such run, another version trained it, or it has no such part.
  """
  if not holds_run(folder):
    raise ConfigError(f'{what}: holds no run and no import{f" of such a {part}" if part else ""}; give the workdir '
                      'of a run that trained it, or a folder that maskrep import wrote')
  try:
    experiment = Experiment.parse(load_config(folder))
  except ConfigError as error:
    raise ConfigError(f'{what}: its config cannot be used; was it trained by another version? {error}') from error
  params, model_state = jax.eval_shape(experiment.objective.init, jax.random.key(0))
  if part and part not in params:
    raise ConfigError(f'{what}: is a run of {experiment.method}, which has no {part}')
  return StoredRun(folder, experiment, params, model_state)


def restore(what: str, run: StoredRun, wanted: Mapping[str, Any]) -> dict[str, Any]:
  """Some parts of the newest complete checkpoint, on all devices.

  Args:
    wanted: fields of `TrainState` -> pytrees of the shapes to be read.

  Raises:
    CheckpointError: there is no checkpoint, or none is complete.
  """
  copied = NamedSharding(make_mesh(), PartitionSpec())
  template = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=copied), dict(wanted))
  with shared_lock(run.path), Checkpoints(run.path, keep=1, read_only=True) as checkpoints:
    found = checkpoints.restore(template)
  if found is None:
    raise CheckpointError(f'{what}: has no checkpoint yet')
  return found


def load_tokenizer(what: str, path: str, tokenizer: Network, wanted: Params) -> Params:
  """The EMA parameters of the tokenizer of a run's newest checkpoint, or of an import, on all devices.

  Args:
    what: the field of the config that names the folder, and its value, for errors.
    path: the folder.
    tokenizer: the module that the weights must belong to.
    wanted: pytree of the shapes and types that the weights must have.

  Raises:
    ConfigError: there is no such run or import, it has no such part, or the part is another network.
    CheckpointError: the run has no complete checkpoint, or is under way.
  """
  params, _ = _load(what, Path(path).expanduser(), 'tokenizer', tokenizer, wanted, {})
  return params


def load_encoder(what: str, path: str, encoder: Network, wanted: Params, wanted_statistics: Params
                 ) -> tuple[Params, Params]:
  """As `load_tokenizer`, for an encoder and its running statistics.

  Learned positions are resampled if the images have another size.
  """
  params, stats = _load(what, Path(path).expanduser(), 'encoder', encoder, wanted, wanted_statistics)
  return resampled(params, wanted, getattr(encoder, 'resampling', 'bicubic')), stats


def load_part(what: str, path: str, part: str, section: Mapping[str, Any], wanted: Params) -> Params:
  """The EMA parameters of a network other than the encoder, from a run's newest checkpoint, on all devices.

  Args:
    what, path: as in `load_encoder`.
    wanted: as there; some of the network's layers are enough.
    part: the network's name among the parameters, and that of its section in the config.
    section: its section in this config; the run's must have the same fields.

  Raises:
    ConfigError, CheckpointError: as `load_tokenizer`.
  """
  folder = Path(path).expanduser()
  if native.saved(folder) and not holds_run(folder):
    raise ConfigError(f'{what}: holds an import, which has no {part}; give the workdir of a run that trained it')
  run = open_run(what, folder, part)
  there = {name: layer for name, layer in run.params[part].items() if name in wanted}
  check(what, part, there, wanted)
  check_fields(what, part, (run.experiment.method, run.experiment.config[part]), (run.experiment.method, dict(section)))
  found = restore(what, run, {'ema_params': {part: there}})
  return resampled(found['ema_params'][part], wanted)


def pretrained(what: str, path: str | Path, network: str = 'ema', *, full: bool = False
               ) -> tuple[Pretrained, RunState | None]:
  """The encoder or tokenizer that a run trained, or an import.

  Args:
    network: 'ema', or 'online' for the one that the EMA follows.
    full: whether the rest of the run's state is read too; an import has none.

  Raises:
    ConfigError, CheckpointError: as `load_tokenizer`.
  """
  folder = opened(path)
  if native.saved(folder) and not holds_run(folder):
    if network != 'ema':
      raise ConfigError(f'{what}: holds an import, which is one network; leave the network at ema')
    return native.load(what, folder), None
  run = open_run(what, folder)
  experiment, objective = run.experiment, run.experiment.objective
  part, module = objective.backbone
  field = 'ema_params' if network == 'ema' else 'params'
  wanted = {'step': jax.ShapeDtypeStruct((), np.int32), field: {part: run.params[part]}}
  branch = statistics_branch(run.model_state, network)
  if branch:
    wanted['model_state'] = {branch: {'encoder': run.model_state[branch]['encoder']}}
  if full:
    wanted |= {'params': run.params, 'ema_params': run.params} | (
      {'model_state': run.model_state} if run.model_state else {})
  state = restore(what, run, wanted)
  stats = state['model_state'][branch]['encoder'] if branch else {}
  kind, sizes = described(module)
  source = {'licence': 'of whoever trained it, and of the data', 'workdir': str(folder), 'step': int(state['step']),
            'pooling': objective.pooling, 'weights': 'EMA' if network == 'ema' else 'online',
            'config': experiment.config}
  if names := load_classes(folder):
    source['class_names'] = names
  found = Pretrained(kind=kind, config=sizes, arrays=flat(state[field][part], stats),
                     preprocessing=objective.preprocessing, source=source)
  if not full:
    return found, None
  return found, RunState(experiment.method, round(experiment.train.epochs), flat(state['params']),
                         flat(state['ema_params']), flat(state.get('model_state', {})))


def trained_classifier(what: str, folder: Path) -> TrainedObjective:
  """The classifier that a run trained with its encoder, and the weights of both.

  Raises:
    ConfigError: the run trained no classifier.
  """
  run = open_run(what, folder)
  classifying(what, run.experiment.objective)
  wanted = {'ema_params': run.params} | ({'model_state': run.model_state} if run.model_state else {})
  state = restore(what, run, wanted)
  return TrainedObjective(run.experiment.objective, run.experiment.config, run.experiment.dtype,
                           (state['ema_params'], state.get('model_state', {})))


def statistics_branch(model_state: Params, network: str = 'ema') -> str:
  """The branch with an encoder's running statistics: for the EMA the teacher's, if it has its own; '' if none."""
  branches = ('teacher', 'student') if network == 'ema' else ('student',)
  return next((name for name in branches if 'encoder' in model_state.get(name, {})), '')


def statistics(model_state: Params) -> Params:
  """The running statistics of the EMA encoder; {} if it has none."""
  branch = statistics_branch(model_state)
  return model_state[branch]['encoder'] if branch else {}


def resampled(params: Params, wanted: Params, mode: str = 'bicubic') -> Params:
  """Parameters with learned positions, [N, D] or with a class token [1 + N, D], resampled to the square grid of
  `wanted`."""
  if 'pos' not in params or params['pos'].shape == wanted['pos'].shape:
    return params
  pos = np.asarray(params['pos'])
  old, new = (math.isqrt(len(each)) for each in (pos, wanted['pos']))
  cls, patches = np.split(pos, [len(pos) - old**2])
  return params | {'pos': np.concatenate([cls, resampling_matrix((new, new), (old, old), mode) @ patches])}


def check(what: str, part: str, found: Params, wanted: Params) -> None:
  """Compares shapes; positions may be of another grid.

  Raises:
    ConfigError: they differ; the message has the first leaf that differs, and the number of leaves that do.
  """
  theirs, ours = _leaf_shapes(found), _leaf_shapes(wanted)
  names = sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name))
  if 'pos' in theirs.keys() & ours.keys() and theirs['pos'][1:] == ours['pos'][1:]:
    names = [name for name in names if name != 'pos']
  if names:
    raise ConfigError(
      f'{what}: its {part} is another than this config asks for: {names[0]} is {theirs.get(names[0], "missing")} and '
      f'not {ours.get(names[0], "wanted")} ({len(names)} of {len(ours)} leaves differ)')


def _leaf_shapes(tree: Params) -> dict[str, tuple[int, ...]]:
  return {jax.tree_util.keystr(path, simple=True, separator='.'): leaf.shape
          for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def check_fields(what: str, part: str, found: tuple[str, dict], wanted: tuple[str, dict]) -> None:
  """Compares settings that shapes do not show, such as the number of heads.

  Raises:
    ConfigError: they differ; the message has the first field that differs.
  """
  for field, value in wanted[1].items():
    if field not in FREE and found[1].get(field) != value:
      raise ConfigError(f'{what}: its {part} has {field}={found[1].get(field)}, and config.{part}.{field} is {value}; '
                        'give the same')


def _load(what: str, folder: Path, part: str, module: Network, wanted: Params, wanted_statistics: Params
          ) -> tuple[Params, Params]:
  """Parameters and running statistics; those of a run are compared before any array is read."""
  def compare(network, params, stats):
    check(what, part, params | {'statistics': stats}, wanted | {'statistics': wanted_statistics})
    check_fields(what, part, network, described(module))

  if native.saved(folder) == part and not holds_run(folder):
    found = native.load(what, folder)
    trees = variables(found.arrays)
    params, stats = trees['params'], trees.get('batch_stats', {})
    compare((found.kind, found.config), params, stats)
    return jax.device_put((params, stats), NamedSharding(make_mesh(), PartitionSpec()))
  run = open_run(what, folder, part)
  branch = statistics_branch(run.model_state) if part == 'encoder' else ''
  stats = run.model_state[branch]['encoder'] if branch else {}
  compare(described(run.experiment.objective.backbone[1]), run.params[part], stats)
  state = restore(what, run, {'ema_params': {part: run.params[part]}} | (
    {'model_state': {branch: {'encoder': stats}}} if branch else {}))
  return state['ema_params'][part], state['model_state'][branch]['encoder'] if branch else {}
