"""Everything a run needs, built from its config and checked before anything is compiled."""

from collections.abc import Callable
import dataclasses
import difflib
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from maskrep.data.datasets import Data, open_source
from maskrep.data.loader import Loader
from maskrep.data.sources.source import Source
from maskrep.errors import ConfigError
from maskrep.evaluation.options import Eval
from maskrep.experiment import build, stored
from maskrep.experiment.build import section
from maskrep.train.loop import Train
from maskrep.train.optim import Optim
from maskrep.train.program import reads
from maskrep.types import Objective, TrainState

FIELDS = 'method', 'seed', 'batch_size', 'compute_dtype', 'data', 'optim', 'train', 'eval'  # of every method
# Beginnings of fields that may differ on resume: they change what is shown or kept, or the speed, or only round-off.
FREE_FIELDS = ('eval.', 'data.threads', 'data.download', 'data.stall_timeout_s', 'train.log_every_steps',
               'train.checkpoint_every_steps', 'train.keep_checkpoints', 'train.fsdp', 'encoder.remat', 'encoder.scan')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """The objects of one run."""

  seed: int
  objective: Objective
  frozen: Any  # arrays that the objective's loss reads and nothing trains; None where there are none
  fingerprint: str  # of the training data and of `frozen`
  warm_start: Callable[[TrainState], TrainState]
  data: Data
  loader: Loader
  eval_source: Source | None
  optim: Optim
  train: Train
  eval: Eval


def check(config: ConfigDict) -> None:
  """Checks what needs neither images nor devices.

  Raises:
    ConfigError: naming the field, its value and the remedy.
  """
  if 'method' not in config:
    raise ConfigError('config.method: is missing; add it to the config file')
  method = build.method(config)
  check_sections(config, FIELDS + method.sections, method.optional)
  if type(config.batch_size) is not int or config.batch_size < 1:
    raise ConfigError(f'config.batch_size={config.batch_size!r}: must be a whole number of at least 1')
  section(Optim, config.optim, 'optim')
  build.build_objective(config)


def check_sections(config: ConfigDict, needed: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
  """Whether the fields of a config are those that are read, and the seed is one.

  Raises:
    ConfigError: naming the field, its value and the remedy.
  """
  fields = needed + optional
  for field in config:
    if field not in fields:
      near = difflib.get_close_matches(field, fields, 1)
      hint = f'did you mean {near[0]}?' if near else f'the fields are {", ".join(fields)}'
      value = '' if isinstance(config[field], ConfigDict) else f'={config[field]!r}'
      raise ConfigError(f'config.{field}{value}: nothing reads this field; {hint}')
  if missing := [field for field in needed if field not in config]:
    raise ConfigError(f'config.{missing[0]}: is missing; add it to the config file')
  if type(config.seed) is not int or config.seed < 0:
    raise ConfigError(f'config.seed={config.seed!r}: must be a whole number of at least 0')


def check_devices(config: ConfigDict) -> None:
  """Checks what must fit the number of devices.

  Raises:
    ConfigError: naming the field, its value and the remedy.
  """
  for field, size in (('batch_size', config.batch_size), ('eval.batch_size', config.eval.batch_size)):
    if size % jax.device_count():
      raise ConfigError(f'config.{field}={size}: must be a multiple of the {jax.device_count()} devices, '
                        f'for example {-(-size // jax.device_count()) * jax.device_count()}')
  micro, fsdp, devices = config.train.microbatch, config.train.fsdp, jax.device_count()
  if micro < 0 or (micro and (config.batch_size % micro or micro % devices)):
    raise ConfigError(f'config.train.microbatch={micro}: must be 0, or divide config.batch_size={config.batch_size} '
                      f'and be a multiple of the {devices} devices')
  if devices % fsdp:
    raise ConfigError(f'config.train.fsdp={fsdp}: must divide the number of devices, {devices}')


def make(config: ConfigDict, *, resumed: bool = False) -> Plan:
  """Builds a run; one that is `resumed` takes nothing from `train.init_from`, which may be gone by then.

  Raises:
    ConfigError: a field is wrong, there are no images, or the batch does not fit the devices.
  """
  check(config)
  data, evaluation = section(Data, config.data, 'data'), section(Eval, config.eval, 'eval')
  optim, train = section(Optim, config.optim, 'optim'), section(Train, config.train, 'train')
  objective = build.build_objective(config)
  check_devices(config)
  source = open_source(data, data.train_split)
  if config.batch_size > len(source):
    raise ConfigError(f'config.batch_size={config.batch_size}: is more than the {len(source)} examples of '
                      f'{data.source}; choose at most that many')
  loader = Loader(
    source, batch_size=config.batch_size, canvas=data.canvas, seed=config.seed, threads=data.threads,
    process_index=jax.process_index(), process_count=jax.process_count(),
    max_broken_fraction=data.max_broken_fraction, stall_timeout_s=data.stall_timeout_s,
    reads=reads(objective))
  eval_source = open_source(data, data.eval_split) if data.eval_split else None
  bank, classes = min(evaluation.max_train_examples, len(source)), source.num_classes
  if eval_source is not None and classes:
    # A class may still have fewer than its share; only the labels tell, which are read with the images.
    for field, needed in (('knn_neighbours', evaluation.knn_neighbours),
                          ('labels_per_class', classes * max(evaluation.labels_per_class, default=0))):
      if needed > bank:
        raise ConfigError(f'config.eval.{field}={getattr(evaluation, field)}: needs {needed} examples, but the '
                          f'smaller of config.eval.max_train_examples and the training split is {bank}')
  if (learnt := getattr(objective, 'num_classes', classes)) != classes:
    raise ConfigError(f'config.regularisation.num_classes={learnt}: {data.source} has {classes or "no"} classes; give '
                      'as many')
  if hasattr(objective, 'segment') and objective.map_classes != source.map_classes:
    if not source.map_classes:
      raise ConfigError(f'config.data.source={data.source}: has no label maps whose classes are known; take '
                        'digit_scenes, ade20k:PATH or a tfds data set with them')
    raise ConfigError(f'config.objective.map_classes={objective.map_classes}: {data.source} has {source.map_classes} '
                      'classes; give as many')
  frozen, fingerprint = None, loader.fingerprint
  if objective.frozen is not None:
    frozen = stored.load_tokenizer('target.weights', config.target.weights, objective.tokenizer, objective.frozen)
    fingerprint += f', tokenizer {stored.digest(frozen)}'
  warm_start = _warm_start(train, objective) if train.init_from and not resumed else lambda state: state
  return Plan(seed=config.seed, objective=objective, frozen=frozen, fingerprint=fingerprint, warm_start=warm_start,
              data=data, loader=loader, eval_source=eval_source, optim=optim, train=train, eval=evaluation)


def _warm_start(train: Train, objective: Objective) -> Callable[[TrainState], TrainState]:
  """Puts the encoder of `train.init_from`, with its running statistics, into a new state; the rest of it stays."""
  params, model_state = jax.eval_shape(objective.init, jax.random.key(0))
  if 'encoder' not in params:
    raise ConfigError(f'config.train.init_from={train.init_from!r}: starts an encoder, and this method trains none; '
                      "leave it ''")
  encoder, stats = stored.load_encoder(
    'train.init_from', train.init_from, objective.encoder, params['encoder'], stored.statistics(model_state))

  def warm_start(state):
    def place(tree, new):
      # Copies: a step donates its state, in which no array may stand twice.
      return tree | {'encoder': jax.tree.map(
        lambda new, old: jnp.copy(jax.device_put(new, old.sharding)), new, tree['encoder'])}

    branches = {name: place(tree, stats) if stats and 'encoder' in tree else tree
                for name, tree in state.model_state.items()}
    return state.replace(params=place(state.params, encoder), ema_params=place(state.ema_params, encoder),
                         model_state=branches)

  return warm_start
