"""Protocols that train: linear, partial, finetune and segmentation, through the same trainer as pre-training.

Each is an ordinary training config, in which what follows from the encoder and its data is filled in. Its run lies in
`WORKDIR/evaluations/PROTOCOL-HASH`, and goes on there when the same evaluation is asked for again.
"""

import copy
import hashlib
import json
from pathlib import Path

from ml_collections import ConfigDict

from maskrep import build, plan, run, workdir
from maskrep.errors import ConfigError
from maskrep.evaluation.record import Figure
from maskrep.interop.pretrained import KINDS, Pretrained

FIGURES = {'eval/accuracy': 'top-1', 'eval/mean_iou': 'mean IoU', 'eval/pixel_accuracy': 'pixel accuracy'}
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
  done = ConfigDict({name: value for name, value in copy.deepcopy(config).items() if name not in OURS})
  how = pretrained.preprocessing
  if how is None:
    raise ConfigError(f'--workdir={folder}: its encoder.json does not say how images are prepared; write '
                      '"preprocessing" into it: size, crop_fraction, filter, mean and std')
  done.data = data
  done.train.init_from = str(folder.resolve())
  if 'encoder_kind' in done:
    done.encoder_kind = pretrained.kind
  # Where positions are learned, those of the run are of its own grid, and are resampled from the encoder's.
  sizes = {name: value for name, value in pretrained.config.items() if name != 'image_size'}
  done.encoder = ConfigDict(_trains(pretrained.kind, done.encoder) | sizes)
  if not done.views.size:
    done.views.size, done.eval.crop_fraction = how['size'], how['crop_fraction']
  done.views.update(mean=tuple(how['mean']), std=tuple(how['std']))
  if 'sigma' in done.objective:
    done.objective.sigma = float(how.get('high_pass_sigma', 0))
  if 'regularisation' in done and not done.regularisation.num_classes:
    section = build.section(build.Data, data, 'data')
    done.regularisation.num_classes = build.build_source(section, section.train_split).num_classes
  found = []
  for rate in config.get('learning_rates', ()) or (done.optim.learning_rate,):
    one = copy.deepcopy(done)
    one.optim.learning_rate = float(rate)
    plan.check(one)
    found.append(one)
  return found


def train(protocol: str, configs: list[ConfigDict], folder: Path) -> list[Figure]:
  """Trains each config to its end, or goes on with it, and says what its last evaluation found.

  Raises:
    RunError: what ended a run before its end.
  """
  found = []
  for config in configs:
    name = hashlib.sha256(json.dumps(_identity(config), sort_keys=True).encode()).hexdigest()[:12]
    into = folder / 'evaluations' / f'{protocol}-{name}'
    run.run(config, into)
    record = json.loads((into / 'metrics.jsonl').read_text().splitlines()[-1])
    suffix = f', learning rate {config.optim.learning_rate:g}' if len(configs) > 1 else ''
    found += [Figure(f'{said}{suffix}', record[metric], note=str(into.relative_to(folder)))
              for metric, said in FIGURES.items() if metric in record]
  if len(configs) > 1:
    best = max((figure for figure in found if figure.name.startswith(tuple(FIGURES.values())[:2])),
               key=lambda figure: figure.value)
    found.append(best._replace(name=f'best {best.name}'))
  return found


def _trains(kind: str, encoder: ConfigDict) -> dict:
  """The fields of a config's section that say how it trains; those that an encoder of this kind lacks are left out."""
  module, _ = KINDS[kind]
  return {name: value for name, value in encoder.items() if name in module.__dataclass_fields__}


def _identity(config: ConfigDict) -> dict:
  """What makes it another run: all but the fields that may change when a run goes on."""
  flat = workdir.diff({}, json.loads(json.dumps(config.to_dict())))
  return {field: value for field, (_, value) in flat.items() if not field.startswith(workdir.FREE_FIELDS)}
