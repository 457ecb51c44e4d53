"""A method outside the repository does all that one of ours does, by its dotted name, and no file here knows of it.

Its package is a copy of tests/support/outside, in a folder that only PYTHONPATH leads to.
"""

import importlib.util
import json
import os
from pathlib import Path
import shutil
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
from tests.support.processes import ROOT, records, saved
from tests.support.stored import final_state

METHOD = 'outside.patch_colours'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A folder with the package, on the path of this process too."""
  folder = tmp_path_factory.mktemp('home')
  shutil.copytree(ROOT / 'tests' / 'support' / 'outside', folder / 'outside')
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(folder)
    yield folder
  for name in [name for name in sys.modules if name.partition('.')[0] == 'outside']:
    del sys.modules[name]


@pytest.fixture(scope='module')
def config(folder):
  spec = importlib.util.spec_from_file_location('digits', folder / 'outside' / 'digits.py')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config()


@pytest.fixture(scope='module')
def workdir(folder):
  """A run that nothing disturbed, in a process of its own, as the method's author starts it."""
  path = os.pathsep.join([str(folder), *filter(None, [os.environ.get('PYTHONPATH')])])
  done = subprocess.run(
    [sys.executable, 'main.py', *flags(folder), f'--workdir={folder}/run'], cwd=ROOT, capture_output=True, text=True,
    env=os.environ | {'PYTHONPATH': path})
  assert done.returncode == 0, done.stderr
  return folder / 'run'


def flags(folder: Path) -> list[str]:
  return [f'--config={folder}/outside/digits.py']


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


def test_it_is_evaluated(workdir):
  knn = ['--config.knn.neighbours=(1,5)', '--config.encoding.batch_size=120']
  assert main(['maskrep', 'evaluate', 'knn', f'--workdir={workdir}', *knn]) == 0
  record = records(workdir, 'evaluations.jsonl')[-1]
  assert record['encoder']['method'] == METHOD and record['encoding']['pooling'] == 'average'
  assert len(record['figures']) == 3 and all(figure['value'] > 0.5 for figure in record['figures'])


def test_its_masks_are_shown(folder, capsys):
  """Three quarters of the patches are grey."""
  assert main(['maskrep', 'show', 'masks', *flags(folder), f'--output={folder}/masks.png']) == 0
  assert capsys.readouterr().out == f'{folder}/masks.png: masked image\n'
  pixels = np.asarray(Image.open(folder / 'masks.png').convert('RGB'))
  grey = (pixels == 128).all(-1).sum() / (4 * 96**2)  # of four images, drawn 96 pixels wide
  assert grey == pytest.approx(0.75, abs=0.03)


def test_its_encoder_is_exported(folder, workdir, config):
  file = folder / 'export' / 'encoder.safetensors'
  file.parent.mkdir()
  assert main(['maskrep', 'export', f'--workdir={workdir}', '--format=safetensors', f'--output={file}']) == 0
  expected = flat({'encoder': final_state(workdir, config).ema_params['encoder']})
  found = load_file(file)
  assert found.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_array_equal(found[name], value)
  description = json.loads(file.with_suffix('.json').read_text())
  assert description['kind'] == 'vit' and description['source']['config']['method'] == METHOD


@pytest.mark.parametrize(('method', 'says'), [
  ('outside.missing', "cannot be imported (No module named 'outside.missing')"),
  ('nowhere.patch_colours', "cannot be imported (No module named 'nowhere')"),
  ('patch_colours', "cannot be imported (No module named 'maskrep.methods.patch_colours')"),
  ('.patch_colours', "cannot be imported (No module named 'maskrep.methods.')"),
  ('outside.digits', 'outside.digits is no method, as it has no from_config'),
  ('losses', 'maskrep.methods.losses is no method, as it has no from_config')])
def test_what_is_no_method_is_one_line(method, says, folder, tmp_path, capsys):
  assert train.main(['main.py', *flags(folder), f'--workdir={tmp_path}/run', f'--config.method={method}']) == 2
  error = capsys.readouterr().err
  assert error.startswith(f'maskrep: config.method={method!r}: {says}; must be one of {", ".join(known_methods())}, or')
  assert len(error.splitlines()) == 1 and not (tmp_path / 'run').exists()


def test_an_objective_that_lacks_something_is_refused_before_it_trains(folder, config):
  """And not when a run that took days is evaluated."""
  text = (folder / 'outside' / 'patch_colours.py').read_text()
  text = text.replace('masked, pooling = ', 'masked, pooled_by = ').replace('def rules', 'def rule')
  (folder / 'outside' / 'half.py').write_text(text)
  config = config.copy_and_resolve_references()
  config.method = 'outside.half'
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
