"""The notebook is committed with its outputs, and runs from its first cell to its last, with less training."""

import json
from pathlib import Path
import re
import shlex

import matplotlib
import pytest

from maskrep.cli.commands import main

NOTEBOOK = Path(__file__).parent.parent.parent / 'docs' / 'first_steps.ipynb'
CELLS = json.loads(NOTEBOOK.read_text())['cells']
COMMAND = re.compile(r'%%bash\n(maskrep .*)')
QUICK = ['--config.train.epochs=0.5', '--config.eval.baselines=()', "--config.eval.protocols=('collapse',)"]


def text_of(cell: dict) -> str:
  """What a cell has printed and returned, without progress and warnings."""
  return ''.join(line for output in cell['outputs'] if output.get('name') != 'stderr'
                 for line in output.get('text', output.get('data', {}).get('text/plain', ())))


def test_outputs_are_those_of_one_run_of_the_whole_notebook():
  code = [cell for cell in CELLS if cell['cell_type'] == 'code']
  assert [cell['execution_count'] for cell in code] == list(range(1, len(code) + 1))
  assert all(output['output_type'] != 'error' for cell in code for output in cell['outputs'])
  printed = '\n'.join(map(text_of, code))
  assert 'trained   ' in printed and 'Recall@1' in printed and 'largest difference: ' in printed
  assert sum('image/png' in output.get('data', ()) for cell in code for output in cell['outputs']) == 2
  assert not re.search(r"\r|\x1b|Traceback|(?:^|[\s'\"(=])/\w", printed), 'control characters, or a path of a machine'


@pytest.mark.slow
def test_every_cell_runs(tmp_path, monkeypatch, capsys, torchvision):
  monkeypatch.chdir(tmp_path)
  matplotlib.use('Agg')
  names = {}
  for source in (''.join(cell['source']) for cell in CELLS if cell['cell_type'] == 'code'):
    if command := COMMAND.fullmatch(source):  # not as a process, which would import and compile everything again
      words = shlex.split(command[1])
      assert main(words + QUICK * (words[1] == 'train')) == 0
    else:
      exec(source, names)
  assert names['same_digit'] > 0.9 and names['difference'] < 1e-4
  assert {'10 neighbours', '20 neighbours'} <= {figure['name'] for figure in names['record']['figures']}
  assert '9 of 9 patches: 1.00' in capsys.readouterr().out
