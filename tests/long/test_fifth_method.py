"""A method outside the repository does all that one of ours does, by its dotted name, and no file here knows of it.

Its package, its config and the commands are those of docs/add_a_method.md, followed as its reader does.
"""

import importlib.util
import json
import os
from pathlib import Path
import shlex
import signal
import subprocess
import sys
import time

import jax
import numpy as np
from PIL import Image
import pytest
from safetensors.numpy import load_file

from maskrep.cli import train
from maskrep.cli.commands import main
from maskrep.errors import ConfigError, Preempted
from maskrep.experiment.experiment import Experiment, known_methods
from maskrep.train.stop import Stop
from maskrep.weights.pretrained import flat
from tests.support import walk
from tests.support.processes import ROOT, records, saved
from tests.support.stored import final_state

METHOD = 'mine.patch_colours'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A folder with the package, on the path of this process too."""
  folder = tmp_path_factory.mktemp('home')
  walk.write(folder)
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(folder)
    yield folder
  for name in [name for name in sys.modules if name.partition('.')[0] == 'mine']:
    del sys.modules[name]


@pytest.fixture(scope='module')
def config(folder):
  spec = importlib.util.spec_from_file_location('digits', folder / 'mine' / 'digits.py')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config()


@pytest.fixture(scope='module')
def workdir(folder):
  """A run that nothing disturbed, in a process of its own, as the method's author starts it."""
  path = os.pathsep.join([str(folder), str(ROOT)])
  done = subprocess.run(
    [sys.executable, '-m', *shlex.split(walk.COMMANDS['train'])], cwd=folder, capture_output=True, text=True,
    env=os.environ | {'PYTHONPATH': path})
  assert done.returncode == 0, done.stderr
  return folder / 'runs' / 'patch_colours'


def flags(folder: Path) -> list[str]:
  return [f'--config={folder}/mine/digits.py']


def test_it_learns(workdir):
  losses = [record['loss'] for record in records(workdir, 'metrics.jsonl')]
  assert len(losses) == 30 and np.mean(losses[-10:]) < 0.7 * np.mean(losses[:3])
  assert saved(workdir) == [10, 20, 30]
  last = records(workdir, 'evaluations.jsonl')[-1]
  assert (last['stage'], last['features'], last['step']) == ('final', 'trained', 30)


def test_stopped_and_resumed_is_undisturbed(folder, workdir, config, monkeypatch):
  """By a signal between two checkpoints: every leaf of the state and every loss, bit for bit."""
  received = Stop.received

  def received_at_seven(self, step):
    if step == 7:
      signal.raise_signal(signal.SIGTERM)
      while not received(self, step):  # another thread records it
        time.sleep(0.01)
    return received(self, step)

  stopped = folder / 'stopped'
  command = ['main.py', *flags(folder), f'--workdir={stopped}']
  monkeypatch.setattr(Stop, 'received', received_at_seven)
  assert train.main(command) == Preempted.exit_code
  assert saved(stopped) == [7]
  monkeypatch.setattr(Stop, 'received', received)
  assert train.main(command) == 0

  jax.tree.map(np.testing.assert_array_equal, *(final_state(each, config) for each in (workdir, stopped)))
  losses = [[record['loss'] for record in records(each, 'metrics.jsonl')] for each in (workdir, stopped)]
  assert losses[0] == losses[1] and len(losses[0]) == 30


def test_it_is_evaluated(folder, workdir, monkeypatch):
  monkeypatch.chdir(folder)
  assert main(shlex.split(walk.COMMANDS['evaluate'])) == 0
  record = records(workdir, 'evaluations.jsonl')[-1]
  assert record['encoder']['method'] == METHOD and record['encoding']['pooling'] == 'average'
  assert len(record['figures']) == 3 and all(figure['value'] > 0.5 for figure in record['figures'])


def test_its_masks_are_shown(folder, monkeypatch, capsys):
  """Three quarters of the patches are grey."""
  monkeypatch.chdir(folder)
  assert main(shlex.split(walk.COMMANDS['show'])) == 0
  assert capsys.readouterr().out == 'masks.png: masked image\n'
  pixels = np.asarray(Image.open(folder / 'masks.png').convert('RGB'))
  grey = (pixels == 128).all(-1).sum() / (4 * 96**2)  # of four images, drawn 96 pixels wide
  assert grey == pytest.approx(0.75, abs=0.03)


def test_its_encoder_is_exported(folder, workdir, config, monkeypatch):
  monkeypatch.chdir(folder)
  assert main(shlex.split(walk.COMMANDS['export'])) == 0
  file = folder / 'patch_colours.safetensors'
  expected = flat({'encoder': final_state(workdir, config).ema_params['encoder']})
  found = load_file(file)
  assert found.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_array_equal(found[name], value)
  description = json.loads(file.with_suffix('.json').read_text())
  assert description['kind'] == 'vit' and description['source']['config']['method'] == METHOD


@pytest.mark.parametrize(('method', 'says'), [
  ('mine.missing', "cannot be imported (No module named 'mine.missing')"),
  ('nowhere.patch_colours', "cannot be imported (No module named 'nowhere')"),
  ('patch_colours', "cannot be imported (No module named 'maskrep.methods.patch_colours')"),
  ('.patch_colours', "cannot be imported (No module named 'maskrep.methods.')"),
  ('mine.digits', 'mine.digits is no method, as it has no from_config'),
  ('losses', 'maskrep.methods.losses is no method, as it has no from_config')])
def test_what_is_no_method_is_one_line(method, says, folder, tmp_path, capsys):
  assert train.main(['main.py', *flags(folder), f'--workdir={tmp_path}/run', f'--config.method={method}']) == 2
  error = capsys.readouterr().err
  assert error.startswith(f'maskrep: config.method={method!r}: {says}; must be one of {", ".join(known_methods())}, or')
  assert len(error.splitlines()) == 1 and not (tmp_path / 'run').exists()


def test_an_objective_that_lacks_something_is_refused_before_it_trains(folder, config):
  """And not when a run that took days is evaluated."""
  text = (folder / 'mine' / 'patch_colours.py').read_text()
  text = text.replace('masked, pooling = ', 'masked, pooled_by = ').replace('def rules', 'def rule')
  (folder / 'mine' / 'half.py').write_text(text)
  config = config.copy_and_resolve_references()
  config.method = 'mine.half'
  with pytest.raises(ConfigError, match='its objective, a PatchColours, has no pooling and no rules; see'):
    Experiment.parse(config)


def test_a_misspelt_field_of_its_own_section_is_named(config):
  config = config.copy_and_resolve_references()
  config.masking = {'ratoi': 0.5}
  with pytest.raises(ConfigError, match=r'config\.masking\.ratoi=0\.5: .* did you mean config\.masking\.ratio\?'):
    Experiment.parse(config)


def test_no_file_here_knows_it():
  names = 'patch_colours', 'patchcolours', 'droppedpatches'
  files = [path for top in ('maskrep', 'configs') for path in (ROOT / top).rglob('*.py')]
  assert len(files) > 100
  assert not [path for path in files if any(name in path.read_text().lower() for name in names)]
