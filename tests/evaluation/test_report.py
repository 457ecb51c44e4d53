"""The report of evaluations, from records that were written by hand."""

import copy
import io
import json

from PIL import Image
import pytest

from maskrep.cli.report import main
from maskrep.evaluation import curves
from maskrep.evaluation.report import newest, picture, png, read

pytestmark = pytest.mark.quick

RECORD = {
  'time': '2026-01-02T10:00:00+0000', 'protocol': 'lowshot', 'seconds': 12.34,
  'figures': [{'name': '1 label', 'value': 0.4321, 'std': 0.0123, 'each': [0.42, 0.44]},
              {'name': '5 labels', 'value': 0.6, 'std': None, 'each': []}],
  'encoder': {'workdir': 'runs/a', 'kind': 'vit', 'sizes': {'width': 96, 'depth': 2}, 'step': 100, 'network': 'ema',
              'digest': 'aaaa'},
  'encoding': {'pooling': 'class_token', 'layers': 1, 'size': 12}, 'data': {'train': 'digits:train:1438', 'eval': 'x'},
  'seed': 0, 'settings': {'draws': 2}, 'run': {'revision': 'r'},
}


def record(*changes: tuple[str, object], **top) -> dict:
  """The record with dotted fields changed."""
  new = copy.deepcopy(RECORD) | top
  for field, value in changes:
    at = new
    *sections, last = field.split('.')
    for section in sections:
      at = at[section]
    at[last] = value
  return new


def write(folder, *lines) -> str:
  folder.mkdir(exist_ok=True)
  (folder / 'evaluations.jsonl').write_text(''.join(
    (line if isinstance(line, str) else json.dumps(line)) + '\n' for line in lines))
  return str(folder)


def tables(text: str) -> dict[str, list[list[str]]]:
  """{protocol: rows of cells, the head first}."""
  found = {}
  for line in text.splitlines():
    if line.startswith('## '):
      rows = found.setdefault(line[3:], [])
    elif line.startswith('|') and '---' not in line:
      rows.append([cell.strip() for cell in line.strip('|').split(' | ')])
  return found


def test_one_row_per_result_and_one_column_per_differing_field(tmp_path, capsys):
  folder = write(tmp_path / 'a', record(), record(('encoding.layers', 4), ('encoder.network', 'online')),
                 record(protocol='robust', figures=[{'name': 'ratio 0.3', 'value': 0.5, 'std': None, 'each': []}]))
  assert main(['report', f'--workdir={folder}']) == 0
  found = tables(capsys.readouterr().out)
  head, *rows = found['lowshot']
  assert head[:2] == ['result', 'value in %'] and sorted(head[2:-2]) == ['layers', 'network']
  assert [dict(zip(head, row, strict=True))['layers'] for row in rows] == ['1', '1', '4', '4']
  assert rows[0][:2] == ['1 label', '43.2 ± 1.2'] and rows[1][:2] == ['5 labels', '60.0'] and rows[2][-2] == '12.3'
  assert found['robust'] == [['result', 'value in %', 'seconds', 'when'], ['ratio 0.3', '50.0', '12.3', rows[0][-1]]]


def test_several_workdirs_stand_side_by_side(tmp_path, capsys):
  folders = [write(tmp_path / name, record(('encoder.digest', name))) for name in ('one', 'two')]
  assert main(['report', f'--workdir={",".join(folders)}']) == 0
  head, *rows = tables(capsys.readouterr().out)['lowshot']
  assert head == ['result', 'value in %', 'workdir', 'seconds', 'when']
  assert [row[2] for row in rows] == [folders[0], folders[0], folders[1], folders[1]]


def test_the_newest_of_equal_records_counts(tmp_path, capsys):
  again = record(time='2026-01-02T12:30:00+0100', seconds=1.0, run={'revision': 's'})  # 11:30
  again['figures'][0]['value'] = 0.5
  older = record(time='2026-01-02T11:00:00+0000', seconds=2.0)  # written later, from a machine that was behind
  other = record(('settings.draws', 3))
  folder = write(tmp_path / 'a', record(), again, older, other)
  records, _ = read(folder)
  assert newest(records) == [records[1], records[3]]
  assert main(['report', f'--workdir={folder}']) == 0
  output = capsys.readouterr().out
  assert output.rstrip().endswith('Replaced by later records: 2')
  assert [row[1] for row in tables(output)['lowshot'][1:]] == ['50.0 ± 1.2', '60.0', '43.2 ± 1.2', '60.0']


@pytest.mark.parametrize('field', ['encoder.digest', 'encoding.pooling', 'data.eval', 'seed', 'settings.draws'])
def test_what_makes_a_record_another_one(field, tmp_path):
  records, _ = read(write(tmp_path / 'a', record(), record((field, 'changed'))))
  assert len(newest(records)) == 2
  assert len(newest([*records, *read(write(tmp_path / 'a', record(('encoder.workdir', 'moved'))))[0]])) == 2


DAMAGED = ['',
           '{"time": "2026-01-02T10:0', '[1, 2]', 'null', '{"protocol": "lowshot"}', json.dumps(record(time='then')),
           json.dumps(record(figures=[])), json.dumps(record(('figures', [{'name': 'x', 'value': None}]))),
           json.dumps(record(figures=7)), '\x00\x00']


def test_damaged_lines_are_named_and_left_out(tmp_path, capsys):
  folder = write(tmp_path / 'a', *DAMAGED, record())
  assert main(['report', f'--workdir={folder}']) == 0
  output = capsys.readouterr()
  assert output.err.splitlines() == [
    f'maskrep: {folder}/evaluations.jsonl: line {number} is damaged and ignored' for number in range(1, 11)]
  assert len(tables(output.out)['lowshot']) == 3


@pytest.mark.parametrize('lines', [None, [], DAMAGED[:2]], ids=['no file', 'empty', 'damaged'])
def test_no_record_is_one_line_and_exit_code_2(lines, tmp_path, capsys):
  folder = str(tmp_path / 'a') if lines is None else write(tmp_path / 'a', *lines)
  assert main(['report', f'--workdir={folder}', f'--output={tmp_path}/x.png']) == 2
  last = capsys.readouterr().err.splitlines()[-1]
  assert last.startswith(f'maskrep: --workdir={folder}: has nothing to report yet')
  assert not (tmp_path / 'x.png').exists()


def test_bars_per_result_and_lines_against_the_ratio(tmp_path):
  curve = [{'name': f'ratio {r}', 'value': v, 'std': 0.01, 'each': []} for r, v in ((0.7, 0.2), (0.0, 0.8), (0.3, 0.6))]
  folder = write(tmp_path / 'a', record(), record(('encoder.network', 'online')),
                 record(protocol='robust', figures=[*curve, {'name': 'mean', 'value': 0.5, 'std': None, 'each': []}]))
  records, _ = read(folder)
  bars, mean, lines = picture(records, {}).axes
  assert [axes.get_title() for axes in (bars, mean, lines)] == ['lowshot', 'robust', 'robust']
  assert [text.get_text() for text in bars.get_xticklabels()] == ['1 label', '5 labels']
  assert [text.get_text() for text in bars.get_legend().get_texts()] == ['network=ema', 'network=online']
  heights = [patch.get_height() for patch in bars.patches]
  assert heights == pytest.approx([43.21, 60, 43.21, 60]) and len({patch.get_x() for patch in bars.patches}) == 4
  assert [patch.get_height() for patch in mean.patches] == [50]
  line, = (container.lines[0] for container in lines.containers)
  assert list(line.get_xdata()) == [0, 0.3, 0.7] and list(line.get_ydata()) == pytest.approx([80, 60, 20])
  with Image.open(io.BytesIO(png(records, {}))) as sheet:
    assert sheet.format == 'PNG' and sheet.height > sheet.width


def test_the_picture_is_written_where_it_is_asked_for(tmp_path, capsys):
  folder = write(tmp_path / 'a', record())
  assert main(['report', f'--workdir={folder}', f'--output={tmp_path}/report.png']) == 0
  with Image.open(tmp_path / 'report.png') as sheet:
    assert sheet.format == 'PNG'
  assert main(['report', f'--workdir={folder}', '--output=report.svg']) == 2
  assert main(['report']) == 2 and '--workdir' in capsys.readouterr().out


def test_a_run_without_evaluations_has_curves_and_several_stand_side_by_side(tmp_path, capsys):
  """Evaluations during training are among the curves, and not in the tables; a run that has nothing is one line."""
  folders = [write(tmp_path / name, record(stage='training')) for name in ('one', 'two')]
  for folder, loss in zip(folders, (2.0, 3.0), strict=True):
    steps = [{'step': i, 'loss': loss - i / 10, 'learning_rate': 0.1, 'kl': 9.0} for i in (1, 2)]
    steps[1]['eval/knn'] = 0.5
    lines = ''.join(f'{json.dumps(each)}\n' for each in steps)
    (tmp_path / folder / 'metrics.jsonl').write_text(lines + '{"step": 3, "lo')
  assert main(['report', f'--workdir={",".join(folders)}', f'--output={tmp_path}/report.png']) == 0
  found = tables(capsys.readouterr().out)
  assert list(found) == ['training'] and found['training'] == [
    ['run', 'step', 'loss', 'learning rate', 'eval/knn'], [folders[0], '2', '1.8', '0.1', '0.5'],
    [folders[1], '2', '2.8', '0.1', '0.5']]
  with Image.open(tmp_path / 'report.png') as sheet:
    assert sheet.format == 'PNG'
  runs = {folder: curves.read(folder) for folder in folders}
  assert [axes.get_title() for axes in picture([], runs).axes] == ['loss', 'learning rate', 'eval/knn']
  loss = picture([], runs).axes[0]
  assert [list(line.get_ydata()) for line in loss.lines] == [[1.9, 1.8], [2.9, 2.8]]
  assert [text.get_text() for text in loss.get_legend().get_texts()] == folders
  assert main(['report', f'--workdir={folders[0]},{tmp_path}']) == 2
  assert f'--workdir={tmp_path}: has nothing to report yet' in capsys.readouterr().err


def test_records_of_a_run_and_later_ones_stand_in_one_table(tmp_path, capsys):
  """The rows of the final table differ in their features; what only maskrep evaluate records is no column."""
  rank = {'name': 'rankme', 'value': 12.3, 'std': None, 'each': [], 'note': '', 'unit': '', 'metric': 'rankme'}
  rows = [record(stage='final', step=7, features=features, encoder={'step': 7, 'network': 'ema', 'method': 'msn'})
          for features in ('untrained', 'trained')]
  folder = write(tmp_path / 'a', *rows, record(stage='later', step=7, features='trained'),
                 record(stage='final', step=7, features='trained', protocol='collapse', figures=[rank]))
  assert main(['report', f'--workdir={folder}']) == 0
  found = tables(capsys.readouterr().out)
  head, *lines = found['lowshot']
  assert head == ['result', 'value in %', 'step', 'stage', 'features', 'seconds', 'when'] and len(lines) == 6
  assert found['collapse'][0][:2] == ['result', 'value'] and found['collapse'][1][:2] == ['rankme', '12.3']
