"""The evaluations of a run: cheap protocols during training, all protocols at its end, compared with baselines."""

from collections.abc import Callable, Iterable, Mapping
import dataclasses
import functools
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np

from maskrep import rng
from maskrep.data.datasets import Data
from maskrep.data.sources.source import DataSet, Source
from maskrep.errors import ConfigError
from maskrep.evaluation import features
from maskrep.evaluation.encoders import ObjectiveEncoder, Pixels, TrainedObjective
from maskrep.evaluation.evaluator import Evaluator, check_classes, has_classifier
from maskrep.evaluation.options import Eval
from maskrep.evaluation.protocols.lowshot import LowShot
from maskrep.evaluation.protocols.table import PROTOCOLS
from maskrep.evaluation.result import FINAL, TRAINED, TRAINING, Result
from maskrep.types import Objective, TrainState
from maskrep.workdir.events import now

SEED = 0  # of draws of labels, the same for all runs, so that these can be compared
PREDICTIONS = 'predictions'  # of the objective itself; judged without being named


class Evaluation(NamedTuple):
  """The results of one protocol, and the fields of their record in evaluations.jsonl, as plain data."""

  record: dict[str, Any]
  results: list[Result]


def check_data(objective: Objective, options: Eval, name: str, train: DataSet, test: Source | None) -> None:
  """Checks that a data set fits the objective and has the examples that its evaluations need.

  Args:
    name: the name of the data set, for errors.

  Raises:
    ConfigError: naming the field, its value and the remedy.
  """
  bank, known = min(options.max_train_examples, len(train)), what_there_is(objective, train, test)
  for protocol in options.protocols:
    chosen, kind = options.options[protocol], PROTOCOLS[protocol]
    if kind.needs == 'classifier' and 'classifier' not in known:
      raise ConfigError(f'config.eval.protocols={options.protocols}: {protocol} needs a classifier, and this method '
                        'trains none; leave it out')
    if kind.needs in known and kind.needed:
      field, needed = kind.needed(chosen, train.num_classes)
      if needed > bank:
        raise ConfigError(f'config.eval.{protocol}.{field}={getattr(chosen, field)}: needs {needed} examples, but the '
                          f'smaller of config.eval.max_train_examples and the training split is {bank}')
    if kind.needs in known and isinstance(chosen, LowShot):
      _check_smallest_class(f'config.eval.{protocol}', chosen, train, bank)
  if test is not None and 'labels' in known and train.fingerprint == test.fingerprint:
    raise ConfigError('config.data.eval_split: is the training split too, so each image would be its own training '
                      "example; name another, or '' for none")
  check_classes(objective, name, train)


def _check_smallest_class(field: str, options: LowShot, train: DataSet, bank: int) -> None:
  """Refuses more labels per class than the smallest class has among the `bank` examples, if labels are known yet."""
  if train.labels is None:
    return
  labels = train.labels[features.sampled(len(train), bank)]
  counts = np.bincount(labels[labels >= 0], minlength=train.num_classes)
  most, least = max(options.labels_per_class, default=0), int(counts.argmin())
  if counts[least] < most:
    name = train.class_names[least] if train.class_names else least
    raise ConfigError(f'{field}.labels_per_class={options.labels_per_class}: class {name} has {counts[least]} of the '
                      f'{bank} examples; lower it')


def what_there_is(objective: Objective, train: Source, test: Source | None) -> set[str]:
  """Returns the values of `Protocol.needs` that a run provides."""
  known = {'train': True, 'eval': test is not None, 'labels': test is not None and train.num_classes > 0,
           'classifier': has_classifier(objective)}
  return {name for name, there in known.items() if there}


def scalars(evaluations: Iterable[Evaluation]) -> dict[str, float]:
  """Returns 'eval/METRIC' -> value, for metrics.jsonl."""
  return {f'eval/{result.metric}': result.value for each in evaluations for result in each.results if result.metric}


def rows(evaluations: Iterable[Evaluation]) -> dict[str, list[Result]]:
  """Returns kind of features -> results of all protocols."""
  found = {}
  for each in evaluations:
    found.setdefault(each.record['features'], []).extend(each.results)
  return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunEvaluator:
  """Evaluates the EMA encoder of a run on a sample of the training split and, if there is one, the evaluation split.

  All processes of a run must evaluate together.

  Attributes:
    config: the run's, as plain data.
    seed: the run's, which determines the untrained encoder.
    dtype: the dtype of the computation.
  """

  objective: Objective
  options: Eval
  config: Mapping[str, Any]
  train_source: Source
  eval_source: Source | None
  data: Data
  seed: int
  dtype: jnp.dtype
  mesh: Mesh

  def during(self, state: TrainState) -> list[Evaluation]:
    """The cheap protocols, and the accuracy of the objective's own predictions.

    Raises:
      DataError: the objective segments, and no pixel of the evaluation split has a class.
    """
    protocols = [name for name in self._protocols if PROTOCOLS[name].in_training]
    return self._judged(self._trained(state), TRAINED, protocols, TRAINING, int(state.step))

  def final(self, state: TrainState) -> list[Evaluation]:
    """All protocols, for each baseline and for the trained encoder.

    Raises:
      ConfigError: a class has fewer examples than a protocol needs.
    """
    evaluations = []
    for name in self.options.baselines:
      protocols = [each for each in self._protocols if name in PROTOCOLS[each].baselines]
      evaluations += self._judged(self._baseline(name, state), name, protocols, FINAL, int(state.step))
    return evaluations + self._judged(self._trained(state), TRAINED, self._protocols, FINAL, int(state.step))

  def pictures(self, state: TrainState) -> dict[str, bytes]:
    """See `Evaluator.pictures`: of the evaluation split or, if there is none, the training split."""
    return self._trained(state).pictures(self.eval_source or self.train_source)

  @property
  def _protocols(self) -> list[str]:
    known = what_there_is(self.objective, self.train_source, self.eval_source)
    return [name for name in self.options.protocols if PROTOCOLS[name].needs in known]

  @functools.cached_property
  def _evaluator(self) -> Evaluator:
    """An evaluator without weights, whose compiled functions are shared by all others."""
    bank = features.sample(self.train_source, self.options.max_train_examples)
    encoder = ObjectiveEncoder(trained=self._with(()))
    return Evaluator(
      what=f'config.method={self.config["method"]!r}', encoder=encoder, data=self.data, open_train=lambda: bank,
      open_eval=lambda: self.eval_source, load_objective=lambda: encoder.trained, batch_size=self.options.batch_size,
      seed=SEED, mesh=self.mesh)

  def _trained(self, state: TrainState) -> Evaluator:
    trained = self._with((state.ema_params, state.model_state))
    return self._evaluator.of(ObjectiveEncoder(trained=trained), trained)

  def _baseline(self, name: str, state: TrainState) -> Evaluator:
    untrained = self._with(jax.jit(self.objective.init)(rng.stream(self.seed, 'init')) if name == 'untrained' else ())
    encoder = (Pixels(size=self.objective.preprocessing.size, canvas=self.data.canvas) if name == 'pixels'
               else ObjectiveEncoder(trained=untrained))
    return self._evaluator.of(encoder, untrained)

  def _with(self, weights: tuple) -> TrainedObjective:
    return TrainedObjective(self.objective, dict(self.config), self.dtype, weights)

  def _judged(
    self, evaluator: Evaluator, name: str, protocols: list[str], stage: str, step: int
  ) -> list[Evaluation]:
    calls: dict[str, Callable[[], list[Result]]] = {
      each: functools.partial(PROTOCOLS[each].evaluate, evaluator, self.options.options[each], seed=SEED)
      for each in protocols}
    if name == TRAINED and self.eval_source is not None:
      calls[PREDICTIONS] = evaluator.predictions
    evaluations, date = [], now()
    for protocol, call in calls.items():
      started = time.monotonic()
      try:
        results = call()
      except ConfigError as error:
        raise ConfigError(f'config.eval.{protocol}: {error}') from error
      settings = dataclasses.asdict(self.options.options[protocol]) if protocol in PROTOCOLS else {}
      record = {
        'protocol': protocol, 'stage': stage, 'step': step, 'features': name, 'time': date,
        'seconds': round(time.monotonic() - started, 3), 'seed': SEED,
        'encoder': {'step': step, 'network': 'ema', 'method': self.config['method']},
        'encoding': evaluator.encoder.settings, 'settings': settings,
        'data': dataclasses.asdict(self.data) | {'images': dict(evaluator.images)}}
      if results:
        evaluations.append(Evaluation(record, results))
    return evaluations
