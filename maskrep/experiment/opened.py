"""An experiment with its inputs: images, initial weights, and weights that its loss reads."""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from maskrep.data.datasets import Data, open_source
from maskrep.data.loader import Loader
from maskrep.data.sources.source import DataSet
from maskrep.errors import ConfigError
from maskrep.evaluation.of_run import check_data
from maskrep.experiment.experiment import Experiment
from maskrep.experiment.stored import load_encoder, load_part, load_tokenizer, statistics
from maskrep.types import CarriesOver, TrainState
from maskrep.weights.pretrained import digest


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpenExperiment:
  """An experiment that is ready to run.

  Attributes:
    train_source: the training split, which `loader` reads.
    eval_source: the evaluation split; None if there is none.
    frozen: arrays that the loss reads and no step changes; None if there are none.
    fingerprint: identifies the training data and `frozen`.
    start_digest: identifies the weights that `warm_start` puts into a state; None if there are none.
    warm_start: puts the initial weights into the state of a new run.
  """

  experiment: Experiment
  loader: Loader
  train_source: DataSet
  eval_source: DataSet | None
  frozen: Any
  fingerprint: str
  start_digest: str | None
  warm_start: Callable[[TrainState], TrainState]

  @property
  def summary(self) -> str:
    """The contents of the training and evaluation splits, one line each."""
    data = self.experiment.data
    lines = [f'training on {data.source}, {data.train_split}: {self.train_source.summary}']
    if self.eval_source is not None:
      lines.append(f'evaluation on {data.source}, {data.eval_split}: {self.eval_source.summary}')
    return '\n'.join(lines)


def open_experiment(experiment: Experiment, *, resumed: bool = False) -> OpenExperiment:
  """Opens data and weights. A `resumed` run does not read `train.init_from`, which may be gone by then.

  Raises:
    ConfigError: the batch does not fit the devices, there are no images, they do not fit the method, or the weights do
      not exist.
  """
  experiment.check_devices(jax.device_count())
  data, objective = experiment.data, experiment.objective
  source = open_source(data, data.train_split)
  if experiment.batch_size > len(source):
    raise ConfigError(f'config.batch_size={experiment.batch_size}: is more than the {len(source)} examples of '
                      f'{data.source}; choose at most that many')
  eval_source = open_source(data, data.eval_split) if data.eval_split else None
  if eval_source is not None and source.num_classes and not eval_source.num_classes:
    raise ConfigError(f'config.data.eval_split={data.eval_split!r}: has no labels, and {data.train_split!r} has; name '
                      'a split with labels: of a folder, one with the same class folders')
  _check_canvas(data, source, objective.preprocessing.size)
  check_data(objective, experiment.eval, data.source, source, eval_source)
  loader = Loader(
    source, batch_size=experiment.batch_size, canvas=data.canvas, seed=experiment.seed, threads=data.threads,
    process_index=jax.process_index(), process_count=jax.process_count(),
    max_broken_fraction=data.max_broken_fraction, stall_timeout_s=data.stall_timeout_s, reads=objective.reads)
  frozen, fingerprint = None, loader.fingerprint
  if wanted := objective.frozen:
    frozen = load_tokenizer(f'config.{wanted.field}={wanted.path!r}', wanted.path, wanted.module, wanted.shapes)
    fingerprint += f', tokenizer {digest(frozen)}'
  start_digest, warm_start = None, lambda state: state
  if experiment.train.init_from and not resumed:
    start_digest, warm_start = _warm_start(experiment)
  return OpenExperiment(
    experiment=experiment, loader=loader, train_source=source, eval_source=eval_source, frozen=frozen,
    fingerprint=fingerprint, start_digest=start_digest, warm_start=warm_start)


def _check_canvas(data: Data, source: DataSet, size: int) -> None:
  """Refuses a canvas that reduces images to less than the size of the views, which would enlarge them again.

  A smaller canvas is right for images that it does not reduce, such as the digits.

  Args:
    size: the side of the views.
  """
  if data.canvas < size and (source.side is None or source.side > data.canvas):
    images = 'images of any size' if source.side is None else f'images of up to {source.side} pixels'
    raise ConfigError(f'config.data.canvas={data.canvas}: would reduce {images} below the size of the views, {size}, '
                      f'which enlarge them again; set it to {size} or more')


def _warm_start(experiment: Experiment) -> tuple[str, Callable[[TrainState], TrainState]]:
  """The digest of the networks of `train.init_from`, and a function that puts them into a new state.

  These are the encoder, with its running statistics, and what the objective carries over; the rest of the state stays.
  """
  path, objective = experiment.train.init_from, experiment.objective
  params, model_state = jax.eval_shape(objective.init, jax.random.key(0))
  name, module = objective.backbone
  if name != 'encoder':
    raise ConfigError(f"config.train.init_from={path!r}: initialises an encoder, which this method does not train; "
                      "leave it ''")
  what = f'config.train.init_from={path!r}'
  encoder, stats = load_encoder(what, path, module, params['encoder'], statistics(model_state))
  carried = objective.carried if isinstance(objective, CarriesOver) else ()
  networks = {'encoder': encoder} | {
    part: load_part(what, path, part, experiment.config[part], params[part]) for part in carried}

  def warm_start(state):
    def place(tree, new):
      # Copies: a step donates its state, in which no array may occur twice.
      return tree | jax.tree.map(
        lambda new, old: jnp.copy(jax.device_put(new, old.sharding)), new, {part: tree[part] for part in new})

    branches = {name: place(tree, {'encoder': stats}) if stats and 'encoder' in tree else tree
                for name, tree in state.model_state.items()}
    return state.replace(params=place(state.params, networks), ema_params=place(state.ema_params, networks),
                         model_state=branches)

  return digest(networks | {'statistics': stats}), warm_start
