"""What has become of runs, and the tables and the picture of it: from folders that were written by hand."""

import csv
import fcntl
import io
import json
import math
from pathlib import Path
import re

from PIL import Image
import pytest

from maskrep.configs import msn_digits
from maskrep.evaluation.result import Result, from_repetitions
from maskrep.sweep import picture
from maskrep.sweep.grid import Run
from maskrep.sweep.outcome import Outcome, ends, outcome
from maskrep.sweep.table import as_csv, as_markdown, columns_grid

pytestmark = pytest.mark.quick

ROOT = Path(__file__).parent.parent.parent
EARLY, LATE = '2026-01-01T10:00:00+0000', '2026-01-01T11:30:00+0100'  # half an hour later


def write(path: Path, *records: dict) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(''.join(json.dumps(record) + '\n' for record in records))


def folder(path: Path, *, speeds=(7.0, 100.0, 300.0, 200.0), knn=0.5, peak=None, end=('finished', 0)) -> None:
  """What a run leaves, as far as a sweep reads it."""
  events = [{'time': EARLY, 'event': 'start'}, {'time': EARLY, 'event': 'compiled', 'memory_bytes': 2_000_000_000}]
  if peak:
    events.append({'time': EARLY, 'event': 'trained', 'peak_bytes': peak})
  if end:
    events.append({'time': EARLY, 'event': 'end', 'reason': end[0], 'exit_code': end[1]})
  write(path / 'events.jsonl', *events)
  write(path / 'run.json', {'devices': '8 x H100'})
  write(path / 'metrics.jsonl', *({'step': i, 'images_per_second': speed} for i, speed in enumerate(speeds)))
  write(path / 'evaluations.jsonl', *final(EARLY, 'trained', knn=0.1, shots=((0.1,), (0.1,))),
        *final(EARLY, 'pixels', knn=0.9, shots=((0.9,), (0.9,))),
        *final(LATE, 'trained', knn=knn, shots=((0.2, 0.4), (knn + 0.2,) * 3)),
        {'stage': 'training', 'features': 'trained', 'time': LATE, 'figures': [asdict('k-NN', 0.99, metric='knn')]},
        {'stage': 'later', 'features': 'trained', 'time': LATE, 'figures': [asdict('k-NN', 0.98, metric='knn')]},
        {'protocol': 'knn', 'figures': [{'name': '20 neighbours', 'value': 0.97, 'std': None, 'each': [], 'note': ''}]})


def asdict(*fields, **named) -> dict:
  return Result(*fields, **named)._asdict()


def final(time: str, features: str, *, knn: float, shots) -> list[dict]:
  """The records of a run at its end: one per protocol."""
  common = {'stage': 'final', 'features': features, 'time': time}
  return [common | {'figures': [asdict('rankme', 12.34, unit='', metric='rankme')]},
          common | {'figures': [asdict('20 neighbours', knn, metric='knn')]},
          common | {'figures': [from_repetitions(f'{count} labels', each, metric=f'labels_{count}')._asdict()
                                for count, each in zip((1, 5), shots, strict=True)]}]


def test_figures_of_a_finished_run(tmp_path):
  folder(tmp_path)
  found = outcome(tmp_path)
  assert found.state == 'finished' and found.devices == '8 x H100'
  assert {metric: figure[1:3] for metric, figure in found.figures.items()} == {
    'rankme': (12.34, None), 'knn': (0.5, None), 'labels_1': pytest.approx((0.3, 0.1)),
    'labels_5': pytest.approx((0.7, 0.0))}
  assert found.images_per_second == 200 and (found.memory_bytes, found.memory_source) == (2_000_000_000, 'compiled')
  folder(tmp_path, peak=3_000_000_000, speeds=(7.0,))
  found = outcome(tmp_path)
  assert (found.memory_bytes, found.memory_source) == (3_000_000_000, 'measured') and found.images_per_second is None


@pytest.mark.parametrize(('end', 'noted', 'state', 'code', 'reason'), [
  (('NonFiniteError: loss', 5), None, 'failed', 5, 'NonFiniteError: loss'),
  (('Preempted: SIGTERM', 75), None, 'interrupted', 75, 'Preempted: SIGTERM'),
  (None, (LATE, 137, 'killed by SIGKILL'), 'failed', 137, 'killed by SIGKILL'),
  (None, None, 'interrupted', None, 'no reason given'),
  (None, ('2026-01-01T10:30:00+0100', 137, 'killed by SIGKILL'), 'interrupted', None, 'no reason given'),
], ids=['failed', 'stopped', 'killed', 'lost', 'started again by hand, then lost'])
def test_a_run_without_its_end_has_no_figures(end, noted, state, code, reason, tmp_path):
  folder(tmp_path / 'run', end=end)
  if noted:
    write(tmp_path / 'events.jsonl', {'time': LATE, 'run': 'other', 'exit_code': 9, 'reason': 'another'},
          dict(zip(('time', 'exit_code', 'reason'), noted, strict=True)) | {'run': 'run'})
  found = outcome(tmp_path / 'run', ends(tmp_path).get('run'))
  assert found == Outcome(state=state, exit_code=code, reason=reason)


def test_what_was_not_started_and_what_is_under_way(tmp_path):
  assert outcome(tmp_path / 'missing') == Outcome(state='not started')
  assert outcome(tmp_path / 'missing', {'time': EARLY, 'exit_code': 2, 'reason': 'x'}).state == 'failed'
  folder(tmp_path)
  with open(tmp_path / 'lock', 'a+') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert outcome(tmp_path) == Outcome(state='running')
  assert outcome(tmp_path).state == 'finished'


def test_a_torn_line_of_metrics_is_passed_over(tmp_path):
  folder(tmp_path)
  with open(tmp_path / 'metrics.jsonl', 'a') as file:
    file.write('{"step": 5, "images_per')
  assert outcome(tmp_path).images_per_second == 200


@pytest.fixture
def results(tmp_path):
  """Two encoders by three ratios, of which one run has failed, one was not started, and one is half known."""
  chosen = []
  for i, encoder in enumerate(('vit_s16', 'vit_b16')):
    for j, ratio in enumerate(('0.3', '0.15', '0.7')):
      run = Run(workdir=tmp_path / f'{encoder}-{ratio}', values={'encoder': encoder, 'masking.ratio': ratio},
                arguments=(), config=msn_digits.get_config().to_dict())
      folder(run.workdir, knn=0.5 + i / 10 + j / 100, peak=4_000_000_000 if j == 1 else None)
      chosen.append(run)
  folder(chosen[5].workdir, end=('NonFiniteError: a | b', 5))
  for path in chosen[4].workdir.iterdir():
    path.unlink()
  (chosen[1].workdir / 'metrics.jsonl').unlink()
  return [(run, outcome(run.workdir)) for run in chosen]


def test_the_table_has_encoders_down_and_ratios_across(results):
  text = as_markdown(results, 'configs/x.py')
  parts = {part.split('\n')[0]: part.split('\n')[2:] for part in text.split('## ')}
  cells = {heading: [[cell.strip() for cell in line.strip('|').split(' | ')] for line in lines if line.startswith('|')]
           for heading, lines in parts.items()}
  assert '4 of 6 runs are finished. Columns: masking.ratio.' in text
  head, _, small, large = cells['k-NN, in %']
  assert head == ['', '0.3', '0.15', '0.7']
  assert small == ['vit_s16', '50.0', '51.0', '52.0'] and large == ['vit_b16', '60.0', '-', 'failed (5)']
  assert cells['1 label(s)/class, in %'][2][1] == '30.0 ± 10.0'
  assert cells['5 label(s)/class, in %'][3] == ['vit_b16', '80.0 ± 0.0', '-', 'failed (5)']
  assert cells['rankme'][2][1] == '12.3'
  speed, memory = cells['Speed and memory'][2:4]
  assert speed == ['vit_s16, images/s', '200', '-', '200']
  assert memory == ['vit_s16, memory per device', '2 GB (compiled)', '4 GB', '2 GB (compiled)']
  assert [line[1:] for line in cells['Not finished'][2:]] == [
    ['not started', '-', '-'], ['failed', '5', r'NonFiniteError: a \| b']]


def test_the_csv_has_a_row_a_run_and_no_number_where_none_is_known(results):
  rows = list(csv.DictReader(io.StringIO(as_csv(results))))
  assert len(rows) == 6 and list(rows[0])[1:5] == ['encoder', 'masking.ratio', 'state', 'exit_code']
  assert float(rows[0]['labels_5_mean']) == pytest.approx(0.7) and rows[0]['memory_source'] == 'compiled'
  assert rows[1]['images_per_second'] == '-' and rows[1]['memory_source'] == 'measured'
  figures = [name for name in rows[0] if name.startswith(('rankme', 'knn', 'labels', 'images', 'memory'))]
  assert len(figures) == 9
  for row in rows[4:]:
    assert {row[name] for name in figures} == {'-'}
  assert (rows[5]['state'], rows[5]['exit_code'], rows[5]['reason']) == ('failed', '5', 'NonFiniteError: a | b')
  assert rows[4]['exit_code'] == '-'


def test_the_picture_has_three_panels_and_a_line_an_encoder(results):
  accuracy, speed, memory = picture.panels(results).axes
  small, large = accuracy.lines
  assert [text.get_text() for text in accuracy.get_legend().get_texts()] == ['vit_s16', 'vit_b16']
  assert list(small.get_xdata()) == [0.15, 0.3, 0.7] and list(small.get_ydata()) == pytest.approx([51, 50, 52])
  assert [math.isnan(y) for y in large.get_ydata()] == [True, False, True]
  assert [line.get_ydata()[1] for line in speed.lines] == [200, 200]
  assert list(memory.lines[0].get_ydata()) == [4, 2, 2] and 'compiled or measured' in memory.get_ylabel()
  assert {axes.get_yscale() for axes in (accuracy, speed, memory)} == {'linear'}
  with Image.open(io.BytesIO(picture.png(results))) as sheet:
    assert sheet.format == 'PNG' and sheet.width > 3 * sheet.height


def test_a_sweep_shows_whatever_its_runs_end_with(tmp_path):
  """Of a method that predicts, its own accuracy is drawn; a metric that one run lacks is a gap."""
  chosen = [Run(workdir=tmp_path / f'{seed}', values={'seed': seed}, arguments=(),
                config=msn_digits.get_config().to_dict()) for seed in '01']
  for run in chosen:
    folder(run.workdir)
  figures = [asdict('top-1', 0.8, metric='accuracy'), asdict('mean IoU', 0.6, metric='mean_iou')]
  with open(chosen[1].workdir / 'evaluations.jsonl', 'a') as file:
    file.write(json.dumps({'stage': 'final', 'features': 'trained', 'time': LATE, 'figures': figures}) + '\n')
  results = [(run, outcome(run.workdir)) for run in chosen]
  text = as_markdown(results, 'x')
  assert re.search(r'## classifier, in %\n\n.*\n.*\n\| msn +\| +- \| +80.0 \|', text), text
  assert '## mean IoU, in %' in text
  rows = list(csv.DictReader(io.StringIO(as_csv(results))))
  assert [row['accuracy'] for row in rows] == ['-', '0.8'] and rows[1]['mean_iou'] == '0.6'
  axes = picture.panels(results).axes[0]
  assert axes.get_ylabel() == 'classifier, in %' and axes.lines[0].get_ydata()[1] == 80


def test_a_sweep_of_names_with_nothing_finished_is_drawn_too(tmp_path):
  chosen = [Run(workdir=tmp_path / kind, values={'optim.optimizer_kind': kind}, arguments=(),
                config=msn_digits.get_config().to_dict()) for kind in ('adamw', 'lars')]
  results = [(run, outcome(run.workdir)) for run in chosen]
  axes = picture.panels(results).axes[1]
  assert [text.get_text() for text in axes.get_xticklabels()] == ['adamw', 'lars']
  assert [text.get_text() for text in axes.texts] == ['no results yet']
  assert '| msn, images/s' in as_markdown(results, 'x') and '0 of 2' in as_markdown(results, 'x')


@pytest.mark.parametrize(('names', 'across'), [
  (['masking.ratio', 'encoder'], 'masking.ratio'), (['encoder', 'seed'], 'seed'),
  (['first_mask.ratio', 'masking.count', 'second_mask.ratio'], 'first_mask.ratio'),
  (['masking.supervised_ratio', 'seed'], 'masking.supervised_ratio')])
def test_columns_are_the_ratios_or_the_last_grid(names, across):
  assert columns_grid(names) == across
