"""Paths and config programs that a user gives: what cannot be used is one line and exit code 2, and nothing is made."""

import importlib
import sys

import pytest

from maskrep.cli import train
from maskrep.configs import mim_digits
from maskrep.errors import ConfigError
from maskrep.experiment.experiment import Experiment
from maskrep.process.paths import check_path
from maskrep.schema import build
from maskrep.train.loop import Train
from tests.support.processes import ROOT

pytestmark = pytest.mark.quick

DIGITS = f'--config={ROOT}/configs/msn_digits.py'
COMMANDS = {
  'train': ([DIGITS], 'workdir'),
  'sweep': ([DIGITS, '--grid=seed=1'], 'workdir'),
  'evaluate': (['knn', f'--config={ROOT}/configs/evaluation/knn.py'], 'workdir'),
  'report': (['--workdir={tmp}'], 'output'),
  'show': (['masks', DIGITS], 'output'),
  'export': (['--workdir={tmp}', '--format=timm'], 'output'),
  'import_weights': (['--format=timm', '--output={tmp}/out'], 'input'),
}

IN_A_BUCKET = 'train', 'evaluate'  # whose workdir may be there


def said(command: str, arguments: list[str], capsys) -> str:
  assert importlib.import_module(f'maskrep.cli.{command}').main([command, *arguments]) == 2
  line, = capsys.readouterr().err.strip().splitlines()
  return line


@pytest.mark.parametrize(('command', 'scheme'), [
  (command, scheme) for command in COMMANDS for scheme in ('gs', 's3', 'hdfs', 'file')
  if scheme != 'gs' or command not in IN_A_BUCKET])
def test_no_command_takes_a_bucket_for_a_folder(command, scheme, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  arguments, flag = COMMANDS[command]
  arguments = [each.format(tmp=tmp_path) for each in arguments]
  line = said(command, [*arguments, f'--{flag}={scheme}://bucket/a.png'], capsys)
  if command in IN_A_BUCKET:
    assert line == (f'maskrep: --{flag}={scheme}://bucket/a.png: must be a path on this machine or gs://BUCKET/FOLDER; '
                    'other buckets are not supported, as orbax cannot write them')
  else:
    assert line == (f'maskrep: --{flag}={scheme}://bucket/a.png: must be a path on this machine, as buckets are not '
                    'supported yet; mount it (Cloud Storage FUSE) and give the path of the mount')
  assert not list(tmp_path.iterdir())


def test_one_of_several_workdirs(tmp_path, capsys):
  assert '--workdir=gs://b/run: must be' in said('report', [f'--workdir={tmp_path},gs://b/run'], capsys)


def test_no_field_takes_a_bucket():
  config = mim_digits.get_config()
  with pytest.raises(ConfigError, match="config.train.init_from='gs://b': must be a path on this machine"):
    build(Train, dict(config.train) | {'init_from': 'gs://b'}, 'config.train')
  config.target.weights = 's3://b/tokenizer'
  with pytest.raises(ConfigError, match="config.target.weights='s3://b/tokenizer': must be a path on this machine"):
    Experiment.parse(config)


def test_paths_that_cannot_be(tmp_path):
  (tmp_path / 'run' / 'checkpoints').mkdir(parents=True)
  inside = tmp_path / 'run' / 'checkpoints' / 'sub' / 'encoder.safetensors'
  check_path('--output=x', str(inside))  # no run: nothing says that these are its checkpoints
  for name in ('config.json', 'run.json'):
    (tmp_path / 'run' / name).touch()
  (tmp_path / 'link').symlink_to(inside.parent)
  for path in (inside, tmp_path / 'link' / 'x', tmp_path / 'run' / 'logs' / '..' / 'checkpoints'):
    with pytest.raises(ConfigError, match='is inside the checkpoints of the run in .*run; give another'):
      check_path(f'--output={path}', str(path))
  for wrong in (f'runs/{"x" * 300}', 'a\0b'):
    with pytest.raises(ConfigError, match='holds a zero byte or a name of more than 255 bytes') as caught:
      check_path(f'--workdir={wrong}', wrong)
    assert len(str(caught.value)) < 200
  with pytest.raises(ConfigError, match='set PYTHONUTF8=1'):
    check_path('--workdir=x', 'L\udcc3\udca4ufe')  # an umlaut, read in the locale POSIX
  check_path('--workdir=x', str(tmp_path / 'run'))
  check_path('--workdir=x', 'relative/Läufe')


PROGRAMS = {
  'does not parse': ('def get_config(:\n', 'SyntaxError: invalid syntax (c.py, line 1)'),
  'imports what is not there': ('import nothing_like_it\n', "line 1 of {path}: ModuleNotFoundError: No module named "
                                                            "'nothing_like_it'"),
  'divides by zero': ('def get_config():\n  return 1 / 0\n', 'line 2 of {path}: ZeroDivisionError: division by zero'),
  'raises two lines': ('def get_config():\n  raise ValueError("a\\nb")\n', 'line 2 of {path}: ValueError: a b'),
  'exits': ('import sys\nsys.exit(3)\n', 'line 2 of {path}: SystemExit: 3'),
  'misspells a field': ('from maskrep.configs import msn_digits\ndef get_config():\n'
                        '  config = msn_digits.get_config()\n  config.optim.beta = config.optim.bta\n  return config\n',
                        'line 4 of {path}: AttributeError'),
  'has none': ('x = 1\n', "has no attribute 'get_config'"),
  'returns a dict': ('def get_config():\n  return {"seed": 1}\n', 'its get_config returned dict'),
  'returns nothing': ('def get_config():\n  pass\n', 'its get_config returned NoneType'),
  'returns a number': ('def get_config():\n  return 7\n', 'its get_config returned int'),
}


@pytest.mark.parametrize('name', PROGRAMS)
def test_configs_are_programs_and_may_fail(name, tmp_path, monkeypatch, capsys):
  program, expected = PROGRAMS[name]
  path = tmp_path / 'c.py'
  path.write_text(program)
  monkeypatch.delitem(sys.modules, 'config_config', raising=False)
  for override in ([], ['--config.seed=1']):
    line = said('train', [f'--config={path}', f'--workdir={tmp_path}/run', *override], capsys)
    assert line.startswith(f'maskrep: --config={path}: ') and expected.format(path=path) in line, line
  assert not (tmp_path / 'run').exists()


def test_deviations_of_zero(tmp_path, capsys):
  line = said('train', [DIGITS, f'--workdir={tmp_path}/run', '--config.views.std=(0.5, 0.0, 0.5)'], capsys)
  assert 'config.views.std=(0.5, 0.0, 0.5): each must be above 0' in line
  assert train.main(['train', DIGITS, f'--workdir=runs/{"x" * 300}']) == 2
