"""The notebook runs from its first cell to its last, with less training."""

import json
from pathlib import Path
import re
import shlex

import matplotlib

from maskrep.cli.commands import main

NOTEBOOK = Path(__file__).parent.parent.parent / 'examples' / 'first_steps.ipynb'
CHANGES = "{'train.epochs': 30.0}"
COMMAND = re.compile('!(maskrep .*)')


def test_every_cell_runs(tmp_path, monkeypatch, capsys, torchvision):
  monkeypatch.chdir(tmp_path)
  matplotlib.use('Agg')
  cells = json.loads(NOTEBOOK.read_text())['cells']
  assert not any(cell.get('outputs') or cell.get('execution_count') for cell in cells)
  code = [''.join(cell['source']) for cell in cells if cell['cell_type'] == 'code']
  assert sum(CHANGES in source for source in code) == 1
  quick = "{'train.epochs': 0.5, 'eval.baselines': (), 'eval.protocols': ('collapse',)}"
  names = {}
  for source in code:
    if command := COMMAND.fullmatch(source):  # not as a process, which would import and compile everything again
      assert main(shlex.split(command[1])) == 0
    else:
      exec(source.replace(CHANGES, quick), names)
  assert names['same_digit'] > 0.9 and names['difference'] < 1e-4
  assert {'10 neighbours', '20 neighbours'} <= {figure['name'] for figure in names['record']['figures']}
  assert '9 of 9 patches: 1.00' in capsys.readouterr().out
