"""Protocols that train: linear, partial, finetune and segmentation, through the same trainer as pre-training.

Each is an ordinary training config, in which what follows from the encoder and its data is filled in. Its run lies in
`WORKDIR/evaluations/PROTOCOL-HASH`, and goes on there when the same evaluation is asked for again.
"""

import copy
import hashlib
import json
from pathlib import Path

from flax.traverse_util import flatten_dict
import jax
from ml_collections import ConfigDict

from maskrep.data.datasets import Data, open_source
from maskrep.errors import ConfigError, NonFiniteError
from maskrep.evaluation.extractor import own_pooling, preprocessing
from maskrep.evaluation.result import Figure
from maskrep.experiment import build, plan, run
from maskrep.experiment.plan import FREE_FIELDS
from maskrep.weights.pretrained import KINDS, Pretrained
from maskrep.workdir.files import read_json

FIGURES = {'eval/accuracy': 'top-1', 'eval/mean_iou': 'mean IoU', 'eval/pixel_accuracy': 'pixel accuracy'}
JUDGED = 'classify', 'mim', 'segment'  # methods
OURS = 'protocol', 'learning_rates'  # fields that no trainer reads


def configs(config: ConfigDict, folder: Path, pretrained: Pretrained, data: ConfigDict) -> list[ConfigDict]:
  """The training configs of an evaluation: one, or one for each of its `learning_rates`.

  Args:
    config: of the evaluation.
    folder, pretrained: the encoder.
    data: the section of the data, complete.

  Raises:
    ConfigError: one of them cannot be right.
  """
  if config.get('method') not in JUDGED:
    raise ConfigError(f'config.method={config.get("method")!r}: must be one of {", ".join(JUDGED)}, which end in a '
                      'figure')
  done = ConfigDict({name: value for name, value in copy.deepcopy(config).items() if name not in OURS})
  how = preprocessing(folder, pretrained)
  if not data.eval_split:
    raise ConfigError("config.data.eval_split='': an encoder is judged on a split of its own; name one")
  done.data = data
  done.train.init_from = str(folder.resolve())
  if 'encoder_kind' in done:
    done.encoder_kind = pretrained.kind
  # Where positions are learned, those of the run are of its own grid, and are resampled from the encoder's.
  sizes = {name: value for name, value in pretrained.config.items() if name != 'image_size'}
  done.encoder = ConfigDict(_trains(pretrained.kind, done.encoder) | sizes)
  done.views.update(size=done.views.size or how['size'], mean=done.views.mean or tuple(how['mean']),
                    std=done.views.std or tuple(how['std']))
  done.eval.crop_fraction = done.eval.crop_fraction or how['crop_fraction']
  if 'pooling' in done.objective:
    done.objective.pooling = done.objective.pooling or own_pooling(pretrained)
  if 'sigma' in done.objective:
    done.objective.sigma = float(how.get('high_pass_sigma', 0))
  if 'regularisation' in done and not done.regularisation.num_classes:
    section = build.section(Data, data, 'data')
    done.regularisation.num_classes = open_source(section, section.train_split).num_classes
  found = []
  for rate in config.get('learning_rates', ()) or (done.optim.learning_rate,):
    one = copy.deepcopy(done)
    one.optim.learning_rate = float(rate)
    plan.check(one)
    found.append(one)
  return found


def train(protocol: str, configs: list[ConfigDict], folder: Path, digest: str) -> list[Figure]:
  """Trains each config to its end, or goes on with it, and says what its last evaluation found.

  Of several learning rates, one whose updates are not finite is left out.

  Args:
    digest: of the encoder. A run is of this one, wherever it lies, and not of another that later lies there.

  Returns:
    The figures; none in a process but the first.

  Raises:
    RunError: what ended a run before its end.
  """
  found, diverged = [], []
  for config in configs:
    into = folder / 'evaluations' / f'{protocol}-{identity(config, digest)}'
    try:
      run.run(config, into, allowed_changes=('train.init_from',))
    except NonFiniteError:
      diverged.append(config.optim.learning_rate)
      if len(diverged) == len(configs):
        raise
      continue
    if jax.process_index() == 0:
      *_, record = read_json(into / 'metrics.jsonl')[0]
      suffix = f', learning rate {config.optim.learning_rate:g}' if len(configs) > 1 else ''
      found += [Figure(f'{said}{suffix}', record[metric], note=str(into.relative_to(folder)))
                for metric, said in FIGURES.items() if metric in record]
  if len(configs) > 1 and found:
    first = found[0].name.partition(',')[0]
    best = max((figure for figure in found if figure.name.startswith(first)), key=lambda figure: figure.value)
    without = f'; not finite: {", ".join(f"{rate:g}" for rate in diverged)}' if diverged else ''
    found.append(best._replace(name=f'best {best.name}', note=f'{best.note}; chosen on this split{without}'))
  return found


def _trains(kind: str, encoder: ConfigDict) -> dict:
  """The fields of a config's section that say how it trains; those that an encoder of this kind lacks are left out."""
  module, _ = KINDS[kind]
  return {name: value for name, value in encoder.items() if name in module.__dataclass_fields__}


def identity(config: ConfigDict, digest: str) -> str:
  """Of a run: of its encoder, but not where that lies, and of all fields but those that may change when it goes on."""
  fields = flatten_dict(json.loads(json.dumps(config.to_dict())), sep='.')
  same = {field: value for field, value in fields.items() if field == 'eval.crop_fraction' or not (
    field == 'train.init_from' or field.startswith(FREE_FIELDS))}
  return hashlib.sha256(json.dumps([digest, same], sort_keys=True).encode()).hexdigest()[:12]
