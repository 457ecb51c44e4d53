"""The results of several training runs of one evaluation: each by its choices, the mean over lists, and the best."""

from collections.abc import Sequence
from typing import NamedTuple

from maskrep.evaluation.result import Result, from_repetitions
from maskrep.experiment.experiment import Experiment

LIST = 'list'


class Outcome(NamedTuple):
  """A figure of a run.

  Attributes:
    figure: its name.
    choices: what distinguishes the run from the others, by name.
    run: the folder of the run.
  """

  figure: str
  value: float
  choices: dict[str, str]
  run: str


def choices(experiments: Sequence[Experiment]) -> list[dict[str, str]]:
  """For each experiment its list, learning rate and seed, as far as these differ between the experiments."""
  found = [{LIST: each.data.list, 'learning rate': f'{each.optim.learning_rate:g}', 'seed': str(each.seed)}
           for each in experiments]
  several = [name for name in (found[0] if found else ()) if len({each[name] for each in found}) > 1]
  return [{name: each[name] for name in several} for each in found]


def results(outcomes: Sequence[Outcome], lists: int, diverged: Sequence[str]) -> list[Result]:
  """One result per outcome, then the mean over `lists` lists if there are several, then the best of what was tried.

  Args:
    lists: the number of lists; a mean is taken only over all of them.
    diverged: the learning rates that were left out, for the note of the best.
  """
  found = [Result(_named(each.figure, each.choices), each.value, note=each.run) for each in outcomes]
  compared = found
  if lists > 1:
    compared = _means(outcomes, lists)
    found += compared
  first = [each for each in compared if each.name.partition(',')[0] == compared[0].name.partition(',')[0]]
  if len(first) > 1 or (first and diverged):
    best = max(first, key=lambda result: result.value)
    without = f'; not finite: {", ".join(diverged)}' if diverged else ''
    found.append(best._replace(name=f'best {best.name}', note=f'{best.note}; chosen on this split{without}'))
  return found


def _means(outcomes: Sequence[Outcome], lists: int) -> list[Result]:
  values: dict[str, list[Outcome]] = {}
  for each in outcomes:
    others = {name: choice for name, choice in each.choices.items() if name != LIST}
    values.setdefault(_named(f'mean {each.figure} of {lists} lists', others), []).append(each)
  return [from_repetitions(name, [each.value for each in group], ', '.join(each.run for each in group))
          for name, group in values.items() if len(group) == lists]


def _named(figure: str, chosen: dict[str, str]) -> str:
  return ', '.join([figure, *(f'{name} {choice}' for name, choice in chosen.items())])
