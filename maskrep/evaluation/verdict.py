"""The verdict that ends a run: weights, collapse, loss, comparison with the baselines, and the next commands."""

from collections.abc import Mapping, Sequence
from pathlib import Path
import shlex
from typing import Any, NamedTuple

from maskrep.evaluation.result import TRAINED, Result, cell, heading
from maskrep.train.progress import COLLAPSED

# Metric -> the value below which a representation is collapsed.
COLLAPSE = {'feature_std': COLLAPSED, 'rankme': 2.0, 'prototypes_in_use': 1.5}
EXPORTS = {'vit': 'timm', 'cait': 'timm_cait', 'resnet': 'torchvision'}  # kind of encoder -> format
# Changes to suggest, and the config field of each; only those whose field the config has are named.
AGAINST_COLLAPSE = {'a lower learning rate': 'optim.learning_rate', 'a longer warm-up': 'optim.warmup_epochs'}
AGAINST_WORSE = {'more epochs': 'train.epochs', 'larger crops': 'views.crop_scale', 'less masking': 'masking.ratio',
                 'another learning rate': 'optim.learning_rate'}


class Measure(NamedTuple):
  """A measure of collapse, which is that of a collapsed representation if its value is below the threshold."""

  name: str
  value: float
  threshold: float

  @property
  def below(self) -> bool:
    return self.value < self.threshold


def verdict(
  workdir: Path, config: Mapping[str, Any], rows: Mapping[str, Sequence[Result]], logged: Sequence[Mapping[str, float]],
  *, part: str,
) -> str:
  """Formats the verdict on a completed run.

  Args:
    config: the run's, as plain data.
    rows: kind of features -> results at the end of the run.
    logged: records of metrics.jsonl, in the order of steps.
    part: the network that training was for: 'encoder' or 'tokenizer'.
  """
  lines = [('weights', f'{workdir / "checkpoints"}, the newest; all commands take the EMA {part} from there')]
  lines += _collapse(config, measures(rows.get(TRAINED, ()), logged))
  lines += loss(logged)
  lines += comparison(config, rows)
  lines += [('next' if i == 0 else '', command) for i, command in enumerate(commands(workdir, config, part))]
  return '\n'.join(f'{name:<12}{text}' for name, text in lines)


def measures(results: Sequence[Result], logged: Sequence[Mapping[str, float]]) -> list[Measure]:
  """The measures of collapse: of the results at the end of a run, and the last logged ones that these do not have.

  Without results the last evaluation in training counts; [] if nothing was measured.
  """
  values = {name: value for name, value in (logged[-1] if logged else {}).items() if name in COLLAPSE}
  if results:
    values |= {result.metric: result.value for result in results if result.metric in COLLAPSE}
  else:
    values |= {name.removeprefix('eval/'): value for record in logged for name, value in record.items()
               if name.startswith('eval/') and name.removeprefix('eval/') in COLLAPSE}
  return [Measure(name, value, COLLAPSE[name]) for name, value in values.items()]


def against_collapse(config: Mapping[str, Any]) -> str:
  """A line with the fields to change after a collapse, as far as the config has them."""
  return f'the features are useless; {_try(config, AGAINST_COLLAPSE)}'


def loss(logged: Sequence[Mapping[str, float]]) -> list[tuple[str, str]]:
  """The line on the loss; none if nothing was logged."""
  if not logged:
    return []
  first, last = logged[0], logged[-1]
  bound = f'; kl {last["kl"]:.3g} of it can still fall, to 0' if 'kl' in last else ''
  before = f', {first["loss"]:.4g} at step {first["step"]}' if len(logged) > 1 else ''
  return [('loss', f'{last["loss"]:.4g} at step {last["step"]}{before}{bound}')]


def _collapse(config: Mapping[str, Any], measured: Sequence[Measure]) -> list[tuple[str, str]]:
  """Lines on the collapse of the representation; none if nothing measured it."""
  if not measured:
    return []
  said = ', '.join(f'{name} {value:.3g} ({"below" if value < threshold else "not below"} {threshold:g})'
                   for name, value, threshold in measured)
  if any(each.below for each in measured):
    return [('collapse', f'YES: {said}'), ('', against_collapse(config))]
  return [('collapse', f'no: {said}')]


def comparison(config: Mapping[str, Any], rows: Mapping[str, Sequence[Result]]) -> list[tuple[str, str]]:
  """Lines comparing the trained encoder with the baselines; a warning if one is as good in half of the figures."""
  figures = {name: {result.metric: result for result in results if result.unit == '%'
                    and result.metric not in ('', 'recall_at_1')}
             for name, results in rows.items()}
  trained = figures.get(TRAINED, {})
  lines, worse_than = [], []
  for name in rows:
    shared = [metric for metric in figures[name] if metric in trained]
    if name == TRAINED or not shared:
      continue
    behind = [metric for metric in shared if trained[metric].value <= figures[name][metric].value]
    said = ', '.join(f'{heading(metric)} {cell(trained[metric].value)} against {cell(figures[name][metric].value)}'
                     for metric in behind or shared)
    lines.append(('' if lines else 'trained', f'better than {name} in {len(shared) - len(behind)} of {len(shared)} '
                  f'figures{", not in" if behind else ":"} {said}'))
    worse_than += [name] if 2 * len(behind) >= len(shared) else []
  if worse_than:
    lines.append(('WARNING', f'training did not make the features better than {" and ".join(worse_than)}; '
                             f'{_try(config, AGAINST_WORSE)}'))
  if not trained:
    lines.append(('trained', 'the quality of the features was not measured, as there are no labels'))
  elif not lines:
    lines.append(('trained', f'{", ".join(f"{heading(name)} {cell(each.value)}" for name, each in trained.items())}; '
                             "nothing to compare with, as config.eval.baselines=()"))
  return lines


def _try(config: Mapping[str, Any], changes: Mapping[str, str]) -> str:
  """Names the changes whose field is in the config."""
  known = [f'{text} (config.{field})' for text, field in changes.items()
           if field.partition('.')[2] in config.get(field.partition('.')[0], {})]
  return f'try {", ".join(known)}'


def commands(workdir: Path, config: Mapping[str, Any], part: str) -> list[str]:
  """The next three commands."""
  folder = shlex.quote(str(workdir))
  kind = config.get(part, {}).get('kind')
  export = f'maskrep export --workdir={folder} --format={EXPORTS.get(kind, "safetensors")} --output={part}.safetensors'
  report = f'maskrep report --workdir={folder} --html=report.html'
  if part == 'encoder':
    labels = 'logistic' if config['data']['eval_split'] else 'collapse'
    return [report, f'maskrep evaluate {labels} --workdir={folder}', export]
  return [report, export, f'maskrep train --config=CONFIG --workdir=DIR --config.target.weights={folder}']
