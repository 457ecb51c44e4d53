"""The command line: bad input is one line that names field, value and remedy, exit code 2, before anything is made."""

import json
import os
from pathlib import Path
import re
import signal
import subprocess
import sys

import pytest

from maskrep.cli import train
from maskrep.train import track

ROOT = Path(__file__).parent.parent.parent
DIGITS = f'--config={ROOT}/configs/msn_digits.py'
EXTREMA = f'--config={ROOT}/configs/extrema_digits.py'
MSCN = f'--config={ROOT}/configs/mscn_digits.py'
ABLATION = f'--config={ROOT}/configs/mscn_ablation.py'
MIM = f'--config={ROOT}/configs/mim_digits.py'
VQGAN = f'--config={ROOT}/configs/vqgan_digits.py'

BAD = {
  'unknown flag': (['--nonsense=1'], 'nonsense'),
  'stray word': (['train'], 'train'),
  'missing config file': (['--config=configs/missing.py'], 'missing.py'),
  'unknown field': ([DIGITS, '--config.optim.learning_rat=1'], 'learning_rate'),
  'unknown field like no other': ([DIGITS, '--config.encoder.colour=1'], 'colour'),
  'unknown section': ([DIGITS, '--config.optimm.learning_rate=1'], 'optimm'),
  'text for a number': ([DIGITS, '--config.batch_size=many'], 'batch_size'),
  'fraction for a count': ([DIGITS, '--config.batch_size=1.5'], 'batch_size'),
  'bool for a count': ([DIGITS, '--config.batch_size=True'], 'batch_size'),
  'tuple too short': ([DIGITS, '--config.views.mean=(0.5,)'], 'views.mean'),
  'ratio 1': ([DIGITS, '--config.masking.ratio=1.0'], 'masking.ratio=1.0'),
  'ratio below 0': ([DIGITS, '--config.masking.ratio=-0.1'], 'masking.ratio=-0.1'),
  'ratio is not a number': ([DIGITS, '--config.masking.ratio=nan'], 'masking.ratio=nan'),
  'ratio keeps nothing': ([DIGITS, '--config.masking.ratio=0.99'], 'masking.ratio=0.99'),
  'size no multiple of the patch': ([DIGITS, '--config.views.size=18'], 'views.size=18'),
  'focal size no multiple': ([DIGITS, '--config.views.focal_size=9'], 'views.focal_size=9'),
  'width no multiple of the heads': ([DIGITS, '--config.encoder.heads=5'], 'encoder.heads=5'),
  'unknown initial weights': ([DIGITS, '--config.encoder.weight_init=orthogonal'], 'weight_init'),
  'zero patch': ([DIGITS, '--config.encoder.patch_size=0'], 'encoder.patch_size=0'),
  'batch of nothing': ([DIGITS, '--config.batch_size=0'], 'batch_size=0'),
  'batch above the data': ([DIGITS, '--config.batch_size=4096'], 'batch_size=4096'),
  'negative seed': ([DIGITS, '--config.seed=-1'], 'seed=-1'),
  'unknown method': ([DIGITS, '--config.method=mns'], 'method'),
  'unknown dtype': ([DIGITS, '--config.compute_dtype=float8'], 'compute_dtype'),
  'unknown source': ([DIGITS, '--config.data.source=numbers'], 'data.source'),
  'missing folder': ([DIGITS, '--config.data.source=folder:/does/not/exist'], '/does/not/exist'),
  'unknown data set': ([DIGITS, '--config.data.source=tfds:imagenett'], 'imagenett'),
  'unknown split': ([DIGITS, '--config.data.train_split=training'], 'training'),
  'no epochs': ([DIGITS, '--config.train.epochs=0.0'], 'train.epochs=0'),
  'a warm-up longer than the run': ([DIGITS, '--config.optim.warmup_epochs=60.0'], 'lower it, for example to 5'),
  'infinite epochs': ([DIGITS, '--config.train.epochs=inf'], 'train.epochs=inf'),
  'never saves': ([DIGITS, '--config.train.checkpoint_every_steps=0'], 'checkpoint_every_steps=0'),
  'momentum above 1': ([DIGITS, '--config.optim.ema_momentum=1.5'], 'ema_momentum=1.5'),
  'crop scale falls': ([DIGITS, '--config.views.crop_scale=(0.9, 0.3)'], 'crop_scale'),
  'more neighbours than images': ([DIGITS, '--config.eval.max_train_examples=10'], 'eval.knn.neighbours=(20,)'),
  'more labels than images': ([DIGITS, '--config.eval.max_train_examples=40'], 'lowshot.labels_per_class=(1, 2, 5)'),
  'no patience': ([DIGITS, '--config.data.stall_timeout_s=0'], 'data.stall_timeout_s=0'),
  'microbatch does not divide': ([DIGITS, '--config.train.microbatch=48'], 'train.microbatch=48'),
  'fsdp does not divide the devices': ([DIGITS, '--config.train.fsdp=3'], 'train.fsdp=3'),
  'devices of a real run': ([DIGITS, '--devices=8'], '--devices=8'),
  'steps of a trace': ([DIGITS, '--workdir=x', '--profile_steps=25:20'], '--profile_steps=25:20: must be FIRST:LAST'),
  'unknown tracker': ([DIGITS, '--track=comet'], '--track=comet'),
  'dry run of a wrong config': ([DIGITS, '--dry_run', '--config.masking.ratio=2.0'], 'masking.ratio=2.0'),
  "another method's section": ([EXTREMA, '--config.method=msn'], 'views.augmentations=2: nothing reads'),
  'more masks than patches': ([EXTREMA, '--config.masking.count=9'], 'masking.count=9'),
  'three augmentations': ([EXTREMA, '--config.views.augmentations=3'], 'views.augmentations=3'),
  'unknown representation': ([EXTREMA, '--config.encoder.instance=mean'], 'encoder.instance'),
  'unknown loss': ([EXTREMA, '--config.objective.loss_kind=simclr'], 'objective.loss_kind'),
  'unknown schedule': ([EXTREMA, '--config.optim.ema_schedule=sine'], 'optim.ema_schedule'),
  'width without room for sines': ([EXTREMA, '--config.encoder.width=90', '--config.encoder.heads=3'],
                                   'encoder.width=90'),
  'no class attention': ([EXTREMA, '--config.encoder.class_depth=0'], 'encoder.class_depth=0'),
  'every branch dropped': ([EXTREMA, '--config.encoder.drop_path=1.0'], 'encoder.drop_path=1.0'),
  'unknown variant': ([f'{ABLATION}:nose'], 'the variants are table5_10, '),
  'cell does not divide the view': ([MSCN, '--config.first_mask.cell=3'], 'first_mask.cell=3'),
  'grid shows nothing': ([MSCN, '--config.second_mask.ratio=0.99'], 'second_mask.ratio=0.99'),
  'noise below 0': ([MSCN, '--config.second_mask.noise_std=-1.0'], 'second_mask.noise_std=-1.0'),
  'endless filter': ([MSCN, '--config.views.high_pass_sigma=inf'], 'views.high_pass_sigma=inf'),
  'an encoder of no kind': ([DIGITS, '--config.encoder.kind=vgg'], "kind='vgg': must be one of vit, cait, resnet"),
  'a ResNet that should leave out patches': (
    [DIGITS, '--config.encoder.kind=resnet'], "kind='resnet': cannot leave out"),
  'a ViT without batch statistics': ([MSCN, '--config.encoder.kind=vit'], "kind='vit': has no batch norm"),
  'no masks': ([MSCN, '--config.objective.num_masks=0'], 'objective.num_masks=0'),
  'unknown depth': ([MSCN, '--config.encoder.depth=19'], 'encoder.depth=19'),
  'unknown stem': ([MSCN, '--config.encoder.stem=tiny'], "encoder.stem='tiny'"),
  'fraction of a channel': ([MSCN, '--config.encoder.width=0.3'], 'encoder.width=0.3'),
  'projector without layers': ([MSCN, '--config.projector.layers=0'], 'projector.layers=0'),
  'BYOL without predictor': ([MSCN, '--config.objective.loss_kind=byol'], 'section predictor'),
  'a teacher for InfoNCE': ([MSCN, '--config.optim.ema_momentum=0.99'], 'optim.ema_momentum=0.99'),
  'no tokenizer': ([MIM, '--config.target.weights=/does/not/exist'], "target.weights='/does/not/exist'"),
  'unknown target': ([MIM, '--config.target.kind=colours'], 'target.kind'),
  'more tokens than patches': ([MIM, '--config.target.size=32'], 'target.size=32'),
  'another number of classes': ([MIM, '--config.regularisation.num_classes=9', '--config.target.kind=pixels'],
                                'num_classes=9'),
  'nothing to predict': ([MIM, '--config.objective.masked_only=True', '--config.masking.ratio=0.0'], 'masked_only'),
  'no label left': ([MIM, '--config.regularisation.label_smoothing=1.5'], 'regularisation.label_smoothing=1.5'),
  'mixes by a negative share': ([MIM, '--config.regularisation.mixup_alpha=-1.0'], 'mixup_alpha=-1.0'),
  'all values dropped': ([MIM, '--config.encoder.dropout=1.0'], 'encoder.dropout=1.0'),
  'unknown pooling': ([MIM, '--config.objective.mim_pooling=max'], 'objective.mim_pooling'),
  'decoder no multiple of its heads': ([MIM, '--config.decoder.heads=5'], 'decoder.heads=5'),
  'warm start from nothing': ([MIM, '--config.target.kind=pixels', '--config.train.init_from=/does/not/exist'],
                              "train.init_from='/does/not/exist'"),
  'unknown optimizer': ([DIGITS, '--config.optim.optimizer_kind=adam'], 'optim.optimizer_kind'),
  'unknown design': ([VQGAN, '--config.tokenizer.design=vqvae'], 'tokenizer.design'),
  'groups do not divide': ([VQGAN, '--config.tokenizer.groups=3'], 'groups=3'),
  'groups of the discriminator do not divide': ([VQGAN, '--config.discriminator.groups=7'], 'discriminator.groups=7'),
  'a tokenizer without levels': ([VQGAN, '--config.tokenizer.multipliers=()'], 'tokenizer.multipliers=()'),
  'attention at no level': ([VQGAN, '--config.tokenizer.attention_levels=(9,)', '--config.tokenizer.design=taming'],
                            'attention_levels=(9,)'),
  'pixels of no range': ([VQGAN, '--config.tokenizer.input_range=(1.0, 1.0)'], 'input_range=(1.0, 1.0)'),
  'views of a tokenizer are shifted': ([VQGAN, '--config.views.mean=(0.5, 0.5, 0.5)'], 'views.mean=(0.5, 0.5, 0.5)'),
  'size no multiple of the stride': ([VQGAN, '--config.views.size=18'], 'views.size=18'),
  'unknown protocol': ([DIGITS, '--config.eval.protocols=("knm",)'], 'eval.protocols=(\'knm\',)'),
  'a protocol without its options': ([DIGITS, '--config.eval.protocols=("transfer",)'], 'eval.transfer: is missing'),
  'a protocol without its classifier': ([DIGITS, '--config.eval.protocols=("robustness",)'], 'eval.robustness'),
  'evaluated on what it trains on': ([DIGITS, '--config.data.eval_split=train'], 'data.eval_split'),
  'unknown baseline': ([DIGITS, '--config.eval.baselines=("pixel",)'], 'pixel'),
}


@pytest.mark.parametrize('name', BAD)
def test_bad_input(name, tmp_path, capsys):
  arguments, named = BAD[name]
  workdir = tmp_path / 'run'
  assert train.main(['main.py', f'--workdir={workdir}', *arguments]) == 2
  error = capsys.readouterr().err.strip()
  assert named in error and len(error.splitlines()) == 1 and 'Traceback' not in error, error
  assert not workdir.exists()


def test_an_empty_folder_and_one_without_images(tmp_path, capsys):
  for name in ('empty', 'broken'):
    (tmp_path / name).mkdir()
  for i in range(3):
    (tmp_path / 'broken' / f'{i}.jpg').write_text('no picture')
  for name in ('empty', 'broken'):
    source = f'--config.data.source=folder:{tmp_path / name}'
    assert train.main(['main.py', f'--workdir={tmp_path / "run"}', DIGITS, '--config.data.eval_split=', source]) == 2
    assert str(tmp_path / name) in capsys.readouterr().err


def test_devices_must_divide_the_batch(tmp_path):
  """In a process of its own: the number of devices is fixed at start. It also shows that no traceback escapes."""
  done = subprocess.run(
    [sys.executable, 'main.py', DIGITS, f'--workdir={tmp_path}/run', '--config.batch_size=100'], cwd=ROOT,
    capture_output=True, text=True, env=os.environ | {
      'XLA_FLAGS': f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count=8'})
  assert done.returncode == 2
  assert done.stderr.startswith('maskrep: config.batch_size=100') and '8 devices' in done.stderr
  assert len(done.stderr.strip().splitlines()) == 1


HANGS = """
import runpy, sys, threading
from maskrep.data.sources.digits import Digits
Digits.__getitem__ = lambda source, index: threading.Event().wait()
sys.argv = ['main.py', *sys.argv[1:]]
runpy.run_path('main.py', run_name='__main__')
"""


def test_a_file_system_that_hangs_does_not_hold_the_process(tmp_path):
  done = subprocess.run(
    [sys.executable, '-c', HANGS, DIGITS, f'--workdir={tmp_path}/run', '--config.data.stall_timeout_s=1',
     '--config.encoder.depth=1'], cwd=ROOT, capture_output=True, text=True, timeout=120)
  assert done.returncode == 3
  assert '\nmaskrep: config.data.stall_timeout_s=1: records ' in done.stderr
  last = json.loads((tmp_path / 'run/events.jsonl').read_text().splitlines()[-1])
  assert last['exit_code'] == 3 and last['reason'].startswith('Stalled: ')


TABLE = """
import runpy, sys, threading
from types import SimpleNamespace
from maskrep.evaluation.of_run import RunEvaluator
from maskrep.train import loop
loop.run = lambda *_, **__: SimpleNamespace(step=7)
def table(*_):
  print('table', flush=True)
  threading.Event().wait()
RunEvaluator.final = table
sys.argv = ['main.py', *sys.argv[1:]]
runpy.run_path('main.py', run_name='__main__')
"""


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_final_table_ends_the_run_at_once(number, tmp_path):
  process = subprocess.Popen([sys.executable, '-c', TABLE, DIGITS, f'--workdir={tmp_path}/run'], cwd=ROOT,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
  while process.stdout.readline() not in ('table\n', ''):
    pass
  process.send_signal(number)
  _, said = process.communicate(timeout=10)
  assert process.returncode == 75 and f'stopped by {number.name} in the final table, after the last step' in said
  last = json.loads((tmp_path / 'run/events.jsonl').read_text().splitlines()[-1])
  assert last['exit_code'] == 75 and 'in the final table' in last['reason'] and 'table' in last['seconds']


def test_dry_run_says_what_a_step_costs_and_writes_nothing(tmp_path, capsys):
  small = '--config.encoder.width=16', '--config.encoder.depth=1', '--config.encoder.heads=1'
  assert train.main(['main.py', DIGITS, '--dry_run', f'--workdir={tmp_path}/run', *small]) == 0
  said = capsys.readouterr().out
  for line in (r'parameters +[\d.]+ k \(encoder', r'computation +[\d.]+ MFLOP per image',
               r'memory +[\d.]+ MB per device', r'sent +nothing',
               r'schedule +1438 examples: 1123 steps for 50 epochs, warm-up 67'):
    assert re.search(line, said), said
  assert not list(tmp_path.iterdir())


def test_dry_run_without_the_data(capsys):
  small = '--config.encoder.width=16', '--config.encoder.depth=1', '--config.encoder.heads=1'
  assert train.main(['main.py', DIGITS, '--dry_run', *small, '--config.data.source=folder:/does/not/exist']) == 0
  assert re.search('schedule +unknown, as folder:/does/not/exist is not on this machine', capsys.readouterr().out)
  assert train.main(['main.py', DIGITS, '--dry_run', *small, '--config.data.source=folders:x']) == 2


def test_unwritable_workdir(tmp_path, capsys):
  (tmp_path / 'file').write_text('')
  assert train.main(['main.py', DIGITS, f'--workdir={tmp_path}/file/run']) == 4
  assert 'cannot be written' in capsys.readouterr().err


def test_missing_tracker_is_reported_at_once(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(train.importlib.util, 'find_spec', lambda name: None)
  assert train.main(['main.py', f'--workdir={tmp_path / "run"}', DIGITS, '--track=wandb']) == 2
  assert '--track=wandb: is not installed; pip install wandb' in capsys.readouterr().err
  assert not (tmp_path / 'run').exists()


def test_trackers_of_the_flag_exist():
  assert tuple(track.TRACKERS) == train.TRACKERS
