"""The page of runs, from files that were written by hand."""

from html.parser import HTMLParser
import json

import pytest

from maskrep.cli.report import main
from maskrep.configs import msn_digits
from maskrep.errors import DataError
from maskrep.page import page, pictures
from maskrep.page.facts import curves, from_packaged, read, times
from maskrep.workdir.config import store_config
from tests.evaluation.test_report import RECORD, record

pytestmark = pytest.mark.quick

START = {'time': '2026-01-02T10:00:00+0000', 'command': ['maskrep', 'train', '--config=msn_digits'], 'data': '<digits>',
         'revision': None, 'modified': False, 'python': '3.12.1', 'versions': {'jax': '0.10.2'}, 'devices': '1 x cpu',
         'processes': 1, 'cores': 2, 'xla_flags': ''}
EVENTS = [{'event': 'start', 'process': 1},
          {'event': 'began', 'step': 1, 'lost_steps': 0, 'lost_seconds': 0.0, 'seconds': {'compile': 30.0}},
          {'event': 'start', 'process': 2},
          {'event': 'began', 'step': 51, 'lost_steps': 20, 'lost_seconds': 8.0, 'seconds': {'compile': 9.0}},
          {'event': 'end', 'reason': 'finished', 'exit_code': 0, 'seconds': {'compile': 10.0, 'step': 60.0}}]
VOID = {'meta', 'img'}


class Page(HTMLParser):
  """Reads a page; a tag that is not closed in order is an error."""

  def __init__(self, text: str):
    super().__init__()
    self.open, self.addresses, self.ids, self.texts, self.tags = [], [], [], [], []
    self.feed(text)
    assert not self.open

  def handle_starttag(self, tag, attrs):
    values = dict(attrs)
    self.tags.append((tag, values))
    self.addresses += [values[name] for name in ('href', 'src') if name in values]
    self.ids += [values['id']] if 'id' in values else []
    self.open += [] if tag in VOID else [tag]

  def handle_startendtag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.texts += [data.strip()] if data.strip() else []


def lines(records) -> str:
  return ''.join(json.dumps({'time': '2026-01-02T10:00:00+0000'} | each) + '\n' for each in records)


def write(folder, *, prototypes=20.0, ratio=0.3, events=EVENTS) -> str:
  """A run that has finished."""
  folder.mkdir(parents=True)
  config = msn_digits.get_config()
  config.masking.ratio = ratio
  store_config(folder, config.to_dict(), free=())
  (folder / 'run.json').write_text(json.dumps(START) + '\n')
  (folder / 'events.jsonl').write_text(lines(events))
  logged = [{'step': 50 * i, 'loss': 3 / i, 'feature_std': 0.4, 'prototypes_in_use': prototypes, 'learning_rate': 1e-3,
             'images_per_second': 100.0 * i, 'skipped_updates': 0.0, 'mine': 1.0} for i in (1, 2, 3)]
  logged[-1]['eval/rankme'] = 12.0
  (folder / 'metrics.jsonl').write_text(''.join(json.dumps(each) + '\n' for each in logged))
  figures = [{'name': 'RankMe', 'value': 12.0, 'unit': '', 'metric': 'rankme'},
             {'name': '20 neighbours', 'value': 0.95, 'unit': '%', 'metric': 'knn'}]
  (folder / 'evaluations.jsonl').write_text(lines([
    record(figures=figures, features='trained', stage='final', protocol='knn'), RECORD]))
  return str(folder)


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
  """Views and masks are compiled: not here."""
  def refuse(*_):
    raise DataError('no <data> here')

  monkeypatch.setattr(pictures, 'one_batch', refuse)


def report(tmp_path, *folders) -> Page:
  path = tmp_path / 'page.html'
  assert main(['report', f'--workdir={",".join(folders)}', f'--html={path}']) == 0
  assert not list(tmp_path.glob('*.partial'))
  text = path.read_text()
  assert 'http' not in text and '<script' not in text and '@import' not in text and 'url(' not in text
  found = Page(text)
  assert len(found.ids) == len(set(found.ids))
  assert all(each.startswith('data:image/png;base64,') or each.startswith('#') and each[1:] in found.ids
             for each in found.addresses)
  return found


def test_a_run_is_one_file_with_everything(tmp_path):
  folder = write(tmp_path / 'a', ratio=0.5)
  (tmp_path / 'a' / 'reconstructions.png').write_bytes(b'png')
  found = report(tmp_path, folder)
  assert found.ids == ['verdict', 'curves', 'pictures', 'evaluations', 'time', 'config', 'environment', 'events']
  assert 'Not collapsed' in found.texts and 'finished, step 150' in found.texts
  assert {'loss', 'mine', 'prototypes_in_use', 'eval/rankme', 'learning_rate', 'images_per_second'} <= set(found.texts)
  assert sum(tag == 'svg' for tag, _ in found.tags) == 7 and 'Always 0: skipped_updates' in found.texts
  assert 'data:image/png;base64,cG5n' in found.addresses
  assert any('no <data> here' in text for text in found.texts)  # escaped, so it is text
  rows = list(zip(found.texts, found.texts[1:], found.texts[2:], strict=False))
  assert ('masking.ratio', '0.3', '0.5') in rows and ('prototypes_in_use', '20', '1.5') in rows
  assert any(text.startswith('Goodput 52.0 %: the share of 100 s') for text in found.texts)
  assert any('20 steps (8 s) were done again' in text for text in found.texts)
  assert any('Starts that were killed: 1' in text for text in found.texts)
  assert '<digits>' in found.texts and '1 x cpu, 1 process(es), 2 cores' in found.texts
  assert 'lowshot' in found.texts and '43.2 ± 1.2' in found.texts


def test_a_collapsed_run_is_called_so_with_a_remedy(tmp_path):
  found = report(tmp_path, write(tmp_path / 'a', prototypes=1.2))
  assert not any(text == 'Not collapsed' for text in found.texts)
  verdict, = (text for text in found.texts if text.startswith('Collapsed: '))
  assert 'a lower learning rate (config.optim.learning_rate)' in verdict
  bad = [values for tag, values in found.tags if tag == 'tr' and values.get('class') == 'bad']
  assert len(bad) == 1


def test_a_sweep_shows_its_runs_side_by_side(tmp_path):
  sweep = tmp_path / 'ratios'
  write(sweep / 'ratio=0.3')
  write(sweep / 'ratio=0.7', ratio=0.7, prototypes=1.0, events=[*EVENTS[:2], EVENTS[4] | {
    'reason': 'NonFiniteError: lost', 'exit_code': 5}])
  (sweep / 'sweep.png').write_bytes(b'png')
  found = report(tmp_path, str(sweep))
  assert found.ids[0] == 'runs' and {'ratio=0.3', 'ratio=0.7', '2 runs', 'The sweep'} <= set(found.texts)
  start = found.texts.index('run')
  head = found.texts[start:found.texts.index('ratio') + 1]
  assert head == ['run', 'state', 'step', 'collapsed', 'k-NN', 'images/s', 'goodput', 'ratio']
  cells = found.texts[start + len(head):start + 3 * len(head)]
  assert cells[:8] == ['ratio=0.3', 'finished', '150', 'no', '95.0', '250', '52 %', '0.3']
  assert cells[8:12] == ['ratio=0.7', 'failed', '150', 'COLLAPSED'] and cells[-1] == '0.7'
  lines = [values['class'] for tag, values in found.tags if tag == 'g']
  assert set(lines) == {'c0', 'c1'}
  # With its path as the name if it stands beside others.
  assert f'{sweep}/ratio=0.3' in report(tmp_path, str(sweep), write(tmp_path / 'b')).texts


def test_an_import_and_a_run_that_has_only_begun(tmp_path):
  (tmp_path / 'import').mkdir()
  (tmp_path / 'import' / 'evaluations.jsonl').write_text(lines([RECORD]))
  begun = write(tmp_path / 'begun', events=EVENTS[:2])
  (tmp_path / 'begun' / 'evaluations.jsonl').unlink()
  found = report(tmp_path, str(tmp_path / 'import'), begun)
  assert {'None: an import.', 'not started', 'Nothing has measured collapse yet.'} <= set(found.texts)
  facts = read(tmp_path / 'begun', 'begun')
  assert [subject for subject, _ in facts.findings] == ['loss'] and facts.outcome.state == 'interrupted'
  assert {measure.name: measure.value for measure in facts.measures} == {
    'feature_std': 0.4, 'prototypes_in_use': 20.0, 'rankme': 12.0}


def test_the_packaged_config_is_known_by_its_name_only(tmp_path):
  config = msn_digits.get_config().to_dict()
  for command in ['--config=msn_digits'], ['--config', 'msn_digits'], ['-config=msn_digits']:
    assert from_packaged(config, [START | {'command': command}]) == ('msn_digits', {})
  program = tmp_path / 'mine.py'
  program.write_text('raise SystemExit("a report has run this")')
  for command in [f'--config={program}'], ['--config=msn_digits.py'], ['jupyter'], ['--config=vit_of_nobody']:
    assert from_packaged(config, [START | {'command': command}]) == ('', {})
  assert from_packaged(config, []) == ('', {})


def test_seconds_are_those_of_the_last_record_of_each_start():
  assert times(EVENTS[2:]).seconds == {'compile': 10.0, 'step': 60.0}
  assert times(EVENTS).seconds == {'compile': 40.0, 'step': 60.0} and times(EVENTS).goodput == 0.52
  assert times([]).goodput is None and times(EVENTS[:2]).unknown == 0


def test_each_metric_is_in_one_section():
  metrics = ['mine', 'loss', 'eval/rankme', 'eval/knn', 'weight_decay', 'learning_rate', 'feature_std', 'seconds']
  assert page.sections(metrics) == {
    'Losses': ['loss', 'mine'], 'Collapse': ['feature_std', 'eval/rankme'], 'Evaluations': ['eval/knn'],
    'Optimiser': ['learning_rate', 'weight_decay'], 'Speed': ['seconds']}
  assert curves([{'step': 1, 'loss': 2.0}, {'step': 2, 'kl': 1.0}]) == {'loss': [(1, 2.0)], 'kl': [(2, 1.0)]}


@pytest.mark.parametrize(('value', 'text'), [
  (0.00012345, '0.0001234'), (20.0, '20'), (1234567.8, '1,234,568'), (float('nan'), 'nan'), (float('inf'), 'inf')])
def test_numbers(value, text):
  assert page.number(value) == text


def test_the_page_of_nothing_is_refused_before_it_is_read(tmp_path, capsys):
  folder = write(tmp_path / 'a')
  for path in 'page.png', f'{tmp_path}/missing/page.html':
    assert main(['report', f'--workdir={folder}', f'--html={path}']) == 2
    assert f'--html={path}: must be a file NAME.html' in capsys.readouterr().err
