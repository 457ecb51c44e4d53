"""The page of reproduction: every table and figure has a row, and every command on them can still be built."""

from collections.abc import Callable
import functools
import importlib
import json
from pathlib import Path
import re
import shlex

import jax
from ml_collections import ConfigDict
import pytest

from maskrep.cli import cost, evaluate, export, import_weights, report, show, sweep, train
from maskrep.devices.mesh import make_mesh
from maskrep.experiment import fields
from maskrep.experiment.experiment import Experiment
from maskrep.sweep.grid import runs
from tests.support.tiny import shrink

DOCS = Path(__file__).parent.parent / 'docs'
HOW = {'config', 'variant', 'fields', 'partly', 'no', 'nothing'}
COLUMNS = ['item', 'shows', 'how', 'commands', 'paper', 'ours', 'needs']
# Of a step, what does not change its shapes.
NUMBERS = 'optim', 'train', 'eval', 'seed', 'data', 'batch_size', 'compute_dtype'
FIRST = {}  # method -> the first of its configs, from which these are taken


def sections() -> dict[str, list[list[str]]]:
  """Heading of a paper -> the cells of its rows."""
  found = {}
  page = (DOCS / 'reproduction.md').read_text()
  for heading, *rest in (part.splitlines() for part in re.split(r'^## ', page, flags=re.M)[1:]):
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in rest if line.startswith('|')]
    assert rows[0] == COLUMNS, heading
    found[heading] = rows[2:]
  return found


PAPERS = sections()
MODULES = {'Supervised + MIM': 'mim'}
ROWS = {f'{paper}, {row[0]}': row for paper, rows in PAPERS.items() for row in rows}


def commands(row: list[str]) -> list[str]:
  return re.findall('`([^`]+)`', row[COLUMNS.index('commands')])


def numbers(items: list[str], kind: str) -> list[int]:
  return [int(number) for item in items if item.startswith(kind) for number in re.findall(r'\d+', item)]


def test_every_table_and_figure_has_its_row():
  counts = {'MSN': (16, 9), 'ExtreMA': (14, 9), 'MSCN': (10, 5), 'Supervised + MIM': (6, 5)}
  assert PAPERS.keys() == counts.keys()
  for paper, (tables, figures) in counts.items():
    items = [row[0] for row in PAPERS[paper]]
    assert sorted(numbers(items, 'Table')) == list(range(1, tables + 1))
    assert sorted(numbers(items, 'Figure')) == list(range(1, figures + 1))


@pytest.mark.parametrize('name', ROWS)
def test_a_row_is_whole(name):
  row = dict(zip(COLUMNS, ROWS[name], strict=True))
  assert row['how'] in HOW and row['shows']
  assert bool(commands(ROWS[name])) == (row['how'] not in ('no', 'nothing'))
  assert row['how'] == 'nothing' or (row['paper'] and row['ours'] and row['needs']), 'a reason, if there is no command'
  assert (row['how'] == 'variant') <= ('_ablation' in row['commands'])


@pytest.mark.parametrize('paper', PAPERS)
def test_every_variant_stands_on_the_page_with_its_figure(paper):
  module = importlib.import_module(f'maskrep.configs.{MODULES.get(paper, paper.lower())}_ablation')
  rows = PAPERS[paper]
  for variant, (*_, figure) in module.ROWS.items():
    of_it = [row for row in rows if re.search(rf'\b{variant}\b', row[COLUMNS.index('commands')])]
    number = re.match(r'(table|figure)(\d+)', variant)
    assert number, variant
    own, = (row for row in of_it if int(number[2]) in numbers([row[0]], number[1].title()))
    assert figure.rpartition(' ')[2] in own[COLUMNS.index('paper')], variant


@functools.cache
def traced(config: str) -> None:
  """Traces a step of a config, as JSON, made small."""
  experiment = Experiment.parse(_tuples(json.loads(config)))
  program = experiment.program(1000, make_mesh(devices=jax.devices()[:1]))
  jax.eval_shape(program.step, program.state, program.batch(experiment.data.canvas), program.frozen)


def _tuples(value):
  if isinstance(value, dict):
    return {name: _tuples(each) for name, each in value.items()}
  return tuple(map(_tuples, value)) if isinstance(value, list) else value


def check_step(config: dict) -> None:
  """Builds the experiment at its size, and the step of the same experiment made small, once per shape."""
  Experiment.parse(config)
  small = shrink(ConfigDict(config)).to_dict()
  if small.get('masking', {}).get('ratio'):
    small['masking']['ratio'] = 0.75  # it changes the number of patches alone
  some = FIRST.setdefault(config['method'], small)
  traced(json.dumps(small | {name: some[name] for name in NUMBERS}, sort_keys=True))


def build(command: str, check: Callable[[dict], object]) -> None:
  """Does with a command line what can be done without data; `check` is for the configs that it trains."""
  maskrep, program, *arguments = shlex.split(command)
  assert maskrep == 'maskrep'
  argv = [program, *arguments]
  if program == 'train':
    check(train.parse(argv).config.to_dict())
  elif program == 'cost':
    check(cost.parse(argv).config.to_dict())
  elif program == 'sweep':
    for run in runs(sweep.parse(argv), sweep.parse_config):
      check(run.config)
  elif program == 'evaluate':
    _, values = evaluate.parse(argv)
    fields.of_evaluation(values.config.to_dict())
  elif program == 'show':
    _, values = show.parse(argv)
    if values.config is not None:  # else it is of a run
      Experiment.parse(values.config)
  else:
    {'import': import_weights, 'export': export, 'report': report}[program].parse(argv)


@pytest.mark.parametrize('name', [name for name, row in ROWS.items() if commands(row)])
@pytest.mark.parametrize('check', [Experiment.parse, pytest.param(check_step, marks=pytest.mark.slow)],
                         ids=['config', 'step'])
def test_every_command_can_be_built(check, name, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for command in commands(ROWS[name]):
    build(command, check)
