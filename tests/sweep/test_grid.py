"""Which runs a sweep has: their values, names and command lines; what is no grid is refused before anything is made."""

import json
from pathlib import Path
import shlex
import subprocess

import pytest

from maskrep.cli import train
from maskrep.cli.sweep import main as sweep
from maskrep.cli.sweep import parse, parse_config
from maskrep.errors import ConfigError
from maskrep.sweep import launch
from maskrep.sweep.grid import run_name, runs
from maskrep.workdir.config import store_config

pytestmark = pytest.mark.quick

ROOT = Path(__file__).parent.parent.parent
TRAIN = ['python', '-m', 'maskrep', 'train']
DIGITS, RESNET = 'configs/msn_digits.py', 'configs/mscn_digits.py'

BAD = {
  'no grid': ([], '--grid'),
  'no value': (['--grid=masking.ratio='], 'masking.ratio='),
  'no equals sign': (['--grid', 'masking.ratio'], 'masking.ratio'),
  'no name': (['--grid==0.3'], '=0.3'),
  'a hole': (['--grid=masking.ratio=0.3,,0.5'], '0.3,,0.5'),
  'unknown field': (['--grid=masking.ration=0.3'], 'masking.ration'),
  'a section': (['--grid=masking=0.3'], 'is a section'),
  'a field of a field': (['--grid=masking.ratio.low=0.3'], 'masking.ratio.low'),
  'text for a number': (['--grid=masking.ratio=0.3,half'], 'half'),
  'fraction for a count': (['--grid=encoder.depth=1.5'], '1.5'),
  'out of range': (['--grid=masking.ratio=0.3,1.0'], 'masking.ratio=1.0'),
  'wrong only together': (['--grid=encoder.width=96,90', '--grid=encoder.heads=3,4'], 'encoder.heads=4'),
  'the same value twice': (['--grid=masking.ratio=0.3,0.30'], '0.3 is given twice'),
  'the same grid twice': (['--grid=masking.ratio=0.3', '--grid=masking.ratio=0.5'], 'masking.ratio is set by another'),
  'a field that is also set': (['--grid=masking.ratio=0.3', '--config.masking.ratio=0.5'], 'masking.ratio is set by'),
  'a field of the encoder': (['--grid=encoder=vit_ti4', '--grid=encoder.depth=2'], 'encoder.depth is set by another'),
  'unknown encoder': (['--grid=encoder=vit_s4,resnet50'], "'resnet50'"),
  'unknown size': (['--grid=encoder=vit_x4'], "'vit_x4'"),
  'patches that do not fit': (['--grid=encoder=vit_ti5'], 'patch_size=5'),
  'no encoder of patches': ([f'--config={RESNET}', '--grid=encoder=vit_s4'], 'encoder=vit_s4'),
  'unknown variant': (['--config=msn_ablation', '--grid=variant=table7_focal,table70'], "variant 'table70'"),
  'a config without variants': (['--grid=variant=a'], 'get_config() takes 0 positional arguments'),
  'a variant that is also given': (['--config=msn_ablation:table7_focal', '--grid=variant=table7_random'],
                                   'variant is set by another'),
  'unknown launch': (['--grid=masking.ratio=0.3', '--launch=moon'], 'moon'),
}


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
  monkeypatch.chdir(ROOT)


def chosen(folder, *arguments: str):
  return runs(parse(['sweep', f'--config={DIGITS}', f'--workdir={folder}', *arguments]), parse_config)


@pytest.mark.parametrize('name', BAD)
def test_bad_grids(name, tmp_path, capsys):
  arguments, named = BAD[name]
  folder = tmp_path / 'sweep'
  assert sweep(['sweep', f'--config={DIGITS}', f'--workdir={folder}', *arguments]) == 2
  error = capsys.readouterr().err.strip()
  assert named in error and len(error.splitlines()) == 1 and 'Traceback' not in error, error
  assert not folder.exists()


def test_the_product_of_all_grids_is_run(tmp_path):
  found = chosen(tmp_path, '--grid', 'masking.ratio=0.15,0.5', '--grid=encoder=vit_ti4,vit_S4',
                 '--grid=views.crop_scale=(0.5,1.0),(0.7, 1.0)', '--config.seed', '3')
  assert len({run.workdir for run in found}) == len(found) == 8
  last = found[-1]
  assert last.values == {'masking.ratio': '0.5', 'encoder': 'vit_s4', 'views.crop_scale': '(0.7, 1.0)'}
  encoder = last.config['encoder']
  assert [encoder[name] for name in ('width', 'depth', 'heads', 'patch_size')] == [384, 12, 6, 4]
  assert last.config['masking']['ratio'] == 0.5 and last.config['views']['crop_scale'] == (0.7, 1.0)
  assert last.config['seed'] == 3
  assert [run.config['masking']['ratio'] for run in found] == [0.15] * 4 + [0.5] * 4


def test_a_command_line_is_the_run_that_was_checked(tmp_path):
  folder = tmp_path / "it's mine"
  found = chosen(folder, '--grid=masking.ratio=0.3,0.5', '--config.eval.baselines=("pixels",)',
                 '--config.data.source=folder:/a b/$HOME;c', '--config.batch_size=32')
  lines = tmp_path / 'commands.txt'
  launch.write_lines(found, lines)
  for run, line in zip(found, lines.read_text().splitlines(), strict=True):
    echoed = subprocess.run(['bash', '-c', f'printf "%s\\n" {line}'], capture_output=True, text=True, check=True)
    python, m, maskrep, program, *arguments = echoed.stdout.splitlines()
    assert [python, m, maskrep, program] == TRAIN and shlex.split(line)[4:] == arguments
    values = train.parse(['maskrep train', *arguments])
    assert values.config.to_dict() == run.config and values.workdir == str(run.workdir)


def test_variants_of_a_config_are_a_grid(tmp_path):
  given = ['sweep', '--config=msn_ablation', f'--workdir={tmp_path}', '--grid=variant=table7_focal,table7_random']
  focal, _, random, other = runs(parse([*given, '--grid=seed=0,1', '--config.views.grey=0.1']), parse_config)
  assert focal.name == 'variant=table7_focal--seed=0' and other.values == {'variant': 'table7_random', 'seed': '1'}
  assert [focal.config['views']['num_random'], random.config['views']['num_random']] == [0, 1]
  assert {run.config['views']['grey'] for run in (focal, random)} == {0.1} and other.config['seed'] == 1
  assert focal.arguments[0] == '--config=msn_ablation:table7_focal', 'the command names the variant'


@pytest.mark.parametrize('value', ['folder:/a b/ç', '../up', "('a', 'b')", 'x' * 300, 'a|b;c'])
def test_names_are_folders_everywhere(value):
  name = run_name({'masking.ratio': '0.3', 'data.source': value})
  assert name.startswith('masking.ratio=0.3--data.source=') and len(name) < 200
  assert set(name) <= set('abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._=-')
  assert name != run_name({'masking.ratio': '0.3', 'data.source': value + '?'})


def test_a_plain_name_says_the_values():
  assert run_name({'masking.ratio': '0.3', 'encoder': 'vit_s16'}) == 'masking.ratio=0.3--encoder=vit_s16'


def test_a_folder_that_holds_another_run_is_refused(tmp_path):
  run, = chosen(tmp_path, '--grid=masking.ratio=0.3')
  run.workdir.mkdir()
  store_config(run.workdir, run.config, free=())
  chosen(tmp_path, '--grid=masking.ratio=0.3')
  chosen(tmp_path, '--grid=masking.ratio=0.3', '--config.eval.knn.neighbours=(3,)')  # free until it is finished
  chosen(tmp_path, '--grid=masking.ratio=0.3', '--config.seed=1')  # nothing is saved yet
  (run.workdir / 'checkpoints/1').mkdir(parents=True)
  with pytest.raises(ConfigError, match='seed was 0 and is 1'):
    chosen(tmp_path, '--grid=masking.ratio=0.3', '--config.seed=1')
  (run.workdir / 'events.jsonl').write_text(json.dumps({'event': 'end', 'reason': 'finished'}) + '\n')
  for field, what in (('eval.knn.neighbours=(3,)', r'was \[20\] and is \[3\]'), ('seed=1', 'was 0 and is 1')):
    with pytest.raises(ConfigError, match=what):
      chosen(tmp_path, '--grid=masking.ratio=0.3', f'--config.{field}')


def test_a_slurm_array_starts_each_run_that_is_not_finished(tmp_path):
  folder = tmp_path / 'my sweep'
  folder.mkdir()
  found = chosen(folder, '--grid=masking.ratio=0.15,0.3,0.5', '--config.views.mean=(0.5, 0.5, 0.5)')
  found[1].workdir.mkdir()
  (found[1].workdir / 'events.jsonl').write_text(json.dumps({'event': 'end', 'reason': 'finished'}) + '\n')
  script = folder / 'sweep.sbatch'
  launch.write_slurm(found, script)
  asked = [line for line in script.read_text().splitlines() if line.startswith('#SBATCH')]
  assert '#SBATCH --array=0,2' in asked and '#SBATCH --requeue' in asked
  fake = tmp_path / 'bin'
  fake.mkdir()
  (fake / 'srun').write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
  (fake / 'srun').chmod(0o755)
  done = subprocess.run(['bash', str(script)], capture_output=True, text=True, check=True,
                        env={'PATH': f'{fake}:/usr/bin:/bin', 'SLURM_ARRAY_TASK_ID': '2', 'SLURM_JOB_ID': '7'})
  _, python, m, maskrep, program, *arguments = done.stdout.splitlines()
  assert [python, m, maskrep, program] == TRAIN
  assert sorted(arguments) == sorted(found[2].arguments)
  for run in found:
    run.workdir.mkdir(exist_ok=True)
    (run.workdir / 'events.jsonl').write_text(json.dumps({'event': 'end', 'reason': 'finished'}) + '\n')
  launch.write_slurm(found, script)
  assert not script.exists()
