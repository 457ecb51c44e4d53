"""The help of every command, and the configs that it can name from any folder."""

import importlib
from pathlib import Path
import shlex
import subprocess
import sys

from absl import flags
from flax.traverse_util import flatten_dict
import pytest

from maskrep import errors
from maskrep.cli import commands
from maskrep.cli.help import EXIT_CODES
from maskrep.configs import mscn_ablation
from maskrep.errors import ConfigError
from maskrep.experiment import config_file, fields
from maskrep.weights.formats import ARRAYS, FORWARD

pytestmark = pytest.mark.quick

MODULES = {name: importlib.import_module(f'maskrep.cli.{commands.MODULES.get(name, name)}')
           for name in commands.COMMANDS}


@pytest.mark.parametrize('name', MODULES)
@pytest.mark.parametrize(('asked', 'code'), [(['--help'], 0), (['-h'], 0), ([], 2)])
def test_every_command_has_help(name, asked, code, capsys):
  assert commands.main(['maskrep', name, *asked]) == code
  out, err = capsys.readouterr()
  page = MODULES[name].PAGE
  assert not err and out.startswith(f'usage: maskrep {name} ') and page.doc.strip().splitlines()[0] in out
  assert len(page.examples) >= 2 and all(example in out and example.startswith(f'maskrep {name} ')
                                         for example in page.examples)
  values = flags.FlagValues()
  page.define(values, [])
  assert all(f'  --{flag}' in out for flag in values) and all(f'  {code}' in out for code in EXIT_CODES)
  assert max(map(len, out.splitlines())) <= 120
  for word in shlex.split(' '.join(page.examples)):
    if word.startswith('--config='):
      assert config_file.find(word.removeprefix('--config='), config_file.EVALUATION)


def test_the_list_of_commands(capsys):
  for asked, code in (['--help'], 0), (['-h'], 0), ([], 2):
    assert commands.main(['maskrep', *asked]) == code
    out = capsys.readouterr().out
    assert all(f'  {name} ' in out and module.__doc__.split('\n')[0].split()[0] in out
               for name, module in MODULES.items())
  assert commands.main(['maskrep', 'trane']) == 2
  assert capsys.readouterr().err.startswith('maskrep: trane: must be one of train, ')
  assert {path.stem for path in Path(commands.__file__).parent.glob('*.py')} - {'__init__', 'command', 'commands',
    'config_file', 'help'} == {module.__name__.split('.')[-1] for module in MODULES.values()}


def test_help_without_docstrings():
  for words in (), ('cost',):
    done = subprocess.run([sys.executable, '-OO', '-m', 'maskrep', *words, '--help'], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith('usage: maskrep'), done.stderr


def test_choices_are_all_there_are():
  from maskrep.experiment import drawing, evaluation, learnt
  from maskrep.weights.formats.table import FORMATS, FORWARD_FORMATS

  assert set(MODULES['evaluate'].PAGE.choices) == set(evaluation.PROTOCOLS)
  assert set(MODULES['show'].LEARNT) == set(learnt.SUBJECTS)
  assert set(MODULES['show'].PAGE.choices) == (
    set(drawing.SUBJECTS) | set(learnt.SUBJECTS) | set(MODULES['show'].SEEN))
  assert set(ARRAYS) == set(FORMATS) and set(FORWARD) == set(FORWARD_FORMATS)


def test_help_and_flags_need_no_jax():
  code = f'import sys; [__import__(name) for name in {[module.__name__ for module in MODULES.values()]}]'
  done = subprocess.run([sys.executable, '-c', f'{code}; print({{"jax", "flax", "matplotlib"}} & set(sys.modules))'],
                        capture_output=True, text=True, check=True)
  assert done.stdout == 'set()\n'


def test_exit_codes_are_those_of_the_errors():
  assert {error.exit_code for error in vars(errors).values() if isinstance(error, type)} | {0} == set(EXIT_CODES)


def test_every_field_of_a_config_with_type_and_range(capsys):
  assert commands.main(['maskrep', 'train', '--config=msn_vitb16', '--config.masking.ratio=0.5', '--help']) == 0
  lines = [' '.join(line.split()) for line in capsys.readouterr().out.splitlines()]
  assert 'masking.ratio=0.5 a number, in [0, 1), for example 0.3' in lines
  assert "encoder.kind='vit' text, one of vit, cait, resnet" in lines
  assert 'data.threads=16 a whole number, at least 1' in lines
  assert all(any(line.startswith(f'{field}=') for line in lines)
             for field in flatten_dict(config_file.load('msn_vitb16').to_dict(), sep='.'))


def test_fields_of_every_packaged_config_have_a_range_or_type():
  for folder, read in ('', fields.of_training), ('evaluation', fields.of_evaluation):
    for name in config_file.names((folder,)):
      config = config_file.load(name, (folder,)).to_dict()
      assert flatten_dict(config, sep='.').keys() <= read(config).annotations.keys(), name


def test_configs_by_name_from_any_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert config_file.load('msn_vitb16').method == 'msn'
  assert config_file.load('mscn_ablation:figure1_grid').to_dict() == mscn_ablation.get_config('figure1_grid').to_dict()
  assert config_file.load('knn', config_file.EVALUATION).protocol == 'knn'
  Path('mine.py').write_text('from maskrep.configs.msn_digits import get_config\n')
  assert config_file.load('mine.py').to_dict() == config_file.load('msn_digits').to_dict()
  for name, message in (('msn_vitb61', 'did you mean msn_vitb16'), ('knn', 'is neither a file nor'),
                        ('mine2.py', '^mine2.py: no such file$'), ('configs/msn_digits.py', 'no such file'),
                        ('__init__', 'is neither a file nor'), ('', 'is neither a file nor')):
    with pytest.raises(ConfigError, match=message):
      config_file.load(name)
