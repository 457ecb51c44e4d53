"""Protocols that train: linear, partial, finetune and segmentation, with the trainer of pre-training.

Each is an ordinary training config, completed with the values that follow from the encoder and its data. Its run is in
`WORKDIR/evaluations/PROTOCOL-HASH`; starting the same evaluation again resumes it.
"""

from collections.abc import Mapping
import copy
import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

from flax.traverse_util import flatten_dict
import jax

from maskrep.data.datasets import Data, open_source
from maskrep.data.lists import matching
from maskrep.errors import ConfigError, NonFiniteError
from maskrep.evaluation.encoders import check_encoder, own_pooling
from maskrep.evaluation.evaluator import ends_in_accuracy
from maskrep.evaluation.result import Result
from maskrep.experiment.experiment import FREE_FIELDS, Experiment
from maskrep.experiment.outcomes import Outcome, choices, results
from maskrep.experiment.run import run
from maskrep.models.encoder import KINDS
from maskrep.schema import build
from maskrep.weights.pretrained import Pretrained
from maskrep.workdir.files import read_json

METRICS = {'eval/accuracy': 'top-1', 'eval/mean_iou': 'mean IoU', 'eval/pixel_accuracy': 'pixel accuracy'}
OWN_FIELDS = 'protocol', 'learning_rates', 'seeds', 'lists', 'vtab'  # of the evaluation; no training config has them


def experiments(
  config: Mapping[str, Any], folder: Path, pretrained: Pretrained, data: Mapping[str, Any]
) -> list[Experiment]:
  """The training runs of an evaluation: one, or one per file of its `lists` and value of its `learning_rates`, `seeds`.

  Args:
    config: the evaluation's, as plain data.
    folder, pretrained: the encoder.
    data: the complete data section.

  Raises:
    ConfigError: one of them is invalid.
  """
  preprocessing = check_encoder(f'--workdir={folder}', pretrained)
  if not data['eval_split']:
    raise ConfigError("config.data.eval_split='': an encoder is evaluated on a split of its own; name one")
  filled = {name: value for name, value in copy.deepcopy(dict(config)).items() if name not in OWN_FIELDS}
  for section in ('train', 'encoder', 'views', 'eval', 'objective', 'optim'):
    if not isinstance(filled.get(section), dict):
      raise ConfigError(f'config.{section}: is missing; add it to the config file')
  filled['data'] = dict(data)
  filled['train']['init_from'] = str(folder.resolve())
  filled['encoder'] = _encoder(pretrained, filled['encoder'])
  _fill(filled['views'], size=preprocessing.size, mean=preprocessing.mean, std=preprocessing.std)
  _fill(filled['eval'], crop_fraction=preprocessing.crop_fraction)
  if 'pooling' in filled['objective']:
    _fill(filled['objective'], pooling=own_pooling(pretrained))
  if 'high_pass_sigma' in filled['views']:
    filled['views']['high_pass_sigma'] = preprocessing.high_pass_sigma
  if 'projector' in filled:
    own = pretrained.source.get('config', {}).get('projector', {})
    filled['projector'] = {name: own.get(name, value) for name, value in filled['projector'].items()}
  if 'regularisation' in filled and not filled['regularisation']['num_classes']:
    section = build(Data, data, 'config.data')
    filled['regularisation']['num_classes'] = open_source(section, section.train_split).num_classes
  found = []
  rates = config.get('learning_rates', ()) or (filled['optim']['learning_rate'],)
  lists = list(itertools.chain(*matching(config.get('lists', ())).values()))
  for path, rate, seed in itertools.product(lists or ('',), rates, config.get('seeds', ()) or (filled['seed'],)):
    one = copy.deepcopy(filled)
    if path:
      one['data']['list'] = path
    one['optim']['learning_rate'], one['seed'] = float(rate), seed
    found.append(Experiment.parse(one))
    if not ends_in_accuracy(found[-1].objective):
      raise ConfigError(f'config.method={found[-1].method!r}: must be a method that classifies or segments')
  return found


def train(protocol: str, experiments: list[Experiment], folder: Path, digest: str) -> list[Result]:
  """Trains each experiment to its end, or resumes it, and returns the results of its last evaluation.

  Of several learning rates, those with updates that are not finite are left out.

  Args:
    digest: identifies the encoder, so that a run never resumes with another encoder that is later in the same folder.

  Returns:
    The results, in process 0; none in the others.

  Raises:
    RunError: the reason why a run ended before its end.
  """
  found, diverged = [], []
  for experiment, chosen in zip(experiments, choices(experiments), strict=True):
    into = folder / 'evaluations' / f'{protocol}-{identity(experiment.config, digest)}'
    try:
      run(experiment, into, allowed_changes=('train.init_from',), with_verdict=False)
    except NonFiniteError:
      diverged.append(experiment.optim.learning_rate)
      if len(diverged) == len(experiments):
        raise
      continue
    if jax.process_index() == 0:
      *_, record = read_json(into / 'metrics.jsonl')[0]
      found += [Outcome(name, record[metric], chosen, str(into.relative_to(folder)))
                for metric, name in METRICS.items() if metric in record]
  lists = len({experiment.data.list for experiment in experiments})
  return results(found, lists, [f'{rate:g}' for rate in dict.fromkeys(diverged)]) if found else []


def identity(config: Mapping[str, Any], digest: str) -> str:
  """Returns a hash of a run's weights (`digest`) and of all config fields except those that may change on resume."""
  fields = flatten_dict(json.loads(json.dumps(config)), sep='.')
  same = {field: value for field, value in fields.items() if field == 'eval.crop_fraction' or not (
    field == 'train.init_from' or field.startswith(FREE_FIELDS))}
  return hashlib.sha256(json.dumps([digest, same], sort_keys=True).encode()).hexdigest()[:12]


def _encoder(pretrained: Pretrained, section: Mapping[str, Any]) -> dict[str, Any]:
  """The section of an encoder: the trained encoder's architecture, with the config's training settings."""
  trains = {name: value for name, value in section.items()
            if name in KINDS[pretrained.kind].module.__dataclass_fields__}
  # Learned positions of the run have its own grid, and are resampled from the encoder's.
  network = {name: value for name, value in pretrained.config.items() if name != 'image_size'}
  return {'kind': pretrained.kind} | trains | network


def _fill(section: dict[str, Any], **values) -> None:
  """Sets the fields that are empty or 0."""
  section.update({name: section.get(name) or value for name, value in values.items()})
