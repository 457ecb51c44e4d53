"""Runs of a sweep: one that fails ends alone, what is finished is not run again, and signals are passed on."""

import csv
import json
import os
from pathlib import Path
import signal
import threading
import time

import pytest

from maskrep.cli.sweep import main
from tests.support.processes import SMALL

ROOT = Path(__file__).parent.parent.parent
DIGITS = f'--config={ROOT}/configs/msn_digits.py'

# Stands in for maskrep train: what it does follows from the ratio; it notes each start.
FAKE = r'''
import json, os, signal, sys, time
given = dict(argument.split('=', 1) for argument in sys.argv[2:])
ratio, folder = given['--config.masking.ratio'], given['--workdir']
os.makedirs(folder, exist_ok=True)
def record(file, **fields):
  with open(os.path.join(folder, file), 'a') as f:
    f.write(json.dumps({'time': time.strftime('%Y-%m-%dT%H:%M:%S%z')} | fields) + '\n')
def end(reason, code):
  record('events.jsonl', event='end', reason=reason, exit_code=code)
  if code:
    print('maskrep:', reason, file=sys.stderr)
  sys.exit(code)
record('starts', alone=os.getsid(0) == os.getpid())
record('events.jsonl', event='start')
if ratio == '0.1':
  os.kill(os.getpid(), signal.SIGKILL)
if ratio == '0.2':
  end('config.eval.knn.neighbours=(20,): too many', 2)
if ratio == '0.4':
  raise RuntimeError('out of | memory')
if ratio == '0.5' and len(open(os.path.join(folder, 'starts')).readlines()) == 1:
  def stop(*_):
    print('told once', flush=True)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(0.5)  # a second signal now would kill
    end('stopped by SIGTERM', 75)
  signal.signal(signal.SIGTERM, stop)
  record('waits')
  time.sleep(60)
record('evaluations.jsonl', stage='final', features='trained', figures=[
  {'name': '20 neighbours', 'value': float(ratio), 'metric': 'knn'}])
end('finished', 0)
'''


@pytest.fixture
def fake(tmp_path, monkeypatch):
  """A folder in which `python -m maskrep` is the stand-in."""
  (tmp_path / 'maskrep').mkdir()
  (tmp_path / 'maskrep' / '__main__.py').write_text(FAKE)
  monkeypatch.chdir(tmp_path)
  return tmp_path / 'sweep'


def sweep(folder: Path, ratios: str, *flags: str) -> int:
  return main(['sweep', DIGITS, f'--grid=masking.ratio={ratios}', f'--workdir={folder}', *flags])


def table(folder: Path) -> dict[str, tuple[str, str, str, str]]:
  with open(folder / 'sweep.csv') as file:
    return {row['masking.ratio']: (row['state'], row['exit_code'], row['reason'], row['knn'])
            for row in csv.DictReader(file)}


def starts(folder: Path) -> dict[str, int]:
  return {path.parent.name.split('=')[1]: len(path.read_text().splitlines()) for path in folder.glob('*/starts')}


def test_a_run_that_fails_ends_alone_and_is_shown(fake, capsys):
  assert sweep(fake, '0.1,0.2,0.3,0.4,0.6') == 1
  expected = {
    '0.1': ('failed', '137', 'killed by SIGKILL', '-'),
    '0.2': ('failed', '2', 'config.eval.knn.neighbours=(20,): too many', '-'),
    '0.3': ('finished', '0', '-', '0.3'),
    '0.4': ('failed', '1', 'RuntimeError: out of | memory', '-'),
    '0.6': ('finished', '0', '-', '0.6'),
  }
  assert table(fake) == expected
  said = capsys.readouterr()
  assert said.err == (f'maskrep: --workdir={fake}: 3 of 5 runs failed; see {fake / "sweep.md"} and the .log file '
                      'beside each folder\n')
  assert '| failed (137) |' in said.out and (fake / 'sweep.md').read_text() in said.out
  # What failed is run again, what is finished is not; nothing is started to collect.
  assert sweep(fake, '0.1,0.2,0.3') == 1
  assert starts(fake) == {'0.1': 2, '0.2': 2, '0.3': 1, '0.4': 1, '0.6': 1}
  assert sweep(fake, '0.1,0.2,0.3,0.4,0.6', '--launch=none') == 1 and sweep(fake, '0.3,0.6', '--launch=lines') == 0
  assert starts(fake) == {'0.1': 2, '0.2': 2, '0.3': 1, '0.4': 1, '0.6': 1} and sorted(table(fake)) == ['0.3', '0.6']


def test_a_signal_is_passed_on_once_and_the_same_command_goes_on(fake, capsys):
  def interrupt():
    while not (fake / 'masking.ratio=0.5' / 'waits').exists():
      time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGTERM)

  before = signal.getsignal(signal.SIGTERM)
  thread = threading.Thread(target=interrupt)
  thread.start()
  assert sweep(fake, '0.3,0.5,0.6') == 75
  thread.join()
  assert signal.getsignal(signal.SIGTERM) == before
  assert capsys.readouterr().err == 'maskrep: stopped by SIGTERM; run the same command to resume\n'
  # What a terminal or a scheduler sends to a whole group does not reach a run twice.
  assert json.loads((fake / 'masking.ratio=0.5' / 'starts').read_text())['alone']
  assert (fake / 'masking.ratio=0.5.log').read_text().count('told once') == 1
  assert {ratio: row[0] for ratio, row in table(fake).items()} == {
    '0.3': 'finished', '0.5': 'interrupted', '0.6': 'not started'}
  assert sweep(fake, '0.3,0.5,0.6') == 0
  assert starts(fake) == {'0.3': 1, '0.5': 2, '0.6': 1}
  assert {row[0] for row in table(fake).values()} == {'finished'}


def test_real_runs_end_to_end(tmp_path, monkeypatch):
  """One that trains, and one that fails only where its data are opened."""
  monkeypatch.chdir(ROOT)
  command = ['sweep', *SMALL, '--config.views.num_focal=0', '--config.train.epochs=0.2',
             '--config.eval.lowshot.labels_per_class=(1,)', '--config.eval.lowshot.draws=2',
             '--grid=data.train_split=train,training', f'--workdir={tmp_path}']
  assert main(command) == 1
  with open(tmp_path / 'sweep.csv') as file:
    good, bad = csv.DictReader(file)
  assert good['state'] == 'finished' and 0.1 < float(good['knn']) < 1 and 0 < float(good['labels_1_std']) < 0.5
  assert float(good['images_per_second']) > 1 and good['devices'] == '1 x cpu'
  compiled, = [event for event in map(json.loads, open(tmp_path / good['run'] / 'events.jsonl'))
               if event['event'] == 'compiled']
  assert int(good['memory_bytes']) == compiled['memory_bytes'] > 100_000 and good['memory_source'] == 'compiled'
  assert bad['state'] == 'failed' and bad['exit_code'] == '2' and "no split 'training'" in bad['reason']
  assert bad['knn'] == '-' and not (tmp_path / bad['run']).exists()
  before = (tmp_path / 'sweep.csv').read_text()
  assert main([*command, '--launch=none']) == 1
  assert (tmp_path / 'sweep.csv').read_text() == before
